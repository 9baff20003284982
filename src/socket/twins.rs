//! More UDP sockets at the place of one, so that several threads hear its datagrams.

use super::{Options, Socket};
use crate::addr::{Datagram, Ip};
use std::io;

impl Socket<Ip, Datagram> {
    /// Sockets at the same address and port (`SO_REUSEPORT`): from now on the kernel gives each peer's
    /// datagrams to one of them all.
    ///
    /// This one was bound without that option, unless the set says otherwise, so the port was nobody's.
    /// From here on whoever runs as the same user and sets the option, too, may join.
    pub(crate) fn twins(&self, options: &Options, count: usize) -> io::Result<Vec<Self>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let local = self.local_addr()?;
        let options = options.clone().reuse_port(true);
        self.raw.set_reuse_port(true)?;
        (0..count).map(|_| Self::bind_with(local, &options)).collect()
    }
}
