//! What a server does on its Unix endpoints alone: socket files, who may connect, descriptors.

use super::Server;
use crate::addr::Credentials;
use crate::engine::{AdmitUnix, Engine};
use crate::socket::SocketFileOptions;
use std::sync::Arc;

/// See the methods.
#[derive(Clone, Default)]
pub(super) struct UnixSettings {
    pub(super) files: SocketFileOptions,
    pub(super) admit: Option<Arc<AdmitUnix>>,
    pub(super) descriptors: bool,
}

impl<C, E: Engine> Server<C, E> {
    /// How the socket files of Unix endpoints are made, and what becomes of one that is there already;
    /// [`SocketFileOptions::new`] by default: mode 0600, an error, and removed when the server stops.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use sockeye::codec::Lines;
    /// use sockeye::server::Server;
    /// use sockeye::socket::{Existing, SocketFileOptions};
    ///
    /// let files = SocketFileOptions::new().mode(0o660).existing(Existing::ReplaceStale);
    /// let server = Server::unix("/run/app.sock")
    ///     .socket_files(files)
    ///     .codec(Lines::default())
    ///     .serve(|line, cx| cx.send(line))?;
    /// server.join()?;
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn socket_files(mut self, files: SocketFileOptions) -> Server<C, E> {
        self.settings.unix.files = files;
        self
    }

    /// Asks this about every Unix connection before anything is made for it: by user, group or process,
    /// as the kernel knows them (`SO_PEERCRED`), whatever name the peer has bound. If it says no, the
    /// connection is closed at once and counted as refused; so is one whose credentials cannot be had.
    ///
    /// Handlers then know them too: [`Context::credentials`](crate::handler::Context::credentials).
    /// Costs one system call for each connection. Connections of other kinds are not asked about, and
    /// those that the program has adopted neither.
    ///
    /// # Errors
    ///
    /// A Unix datagram endpoint is refused when the server starts: its peers have no connection whose
    /// credentials could be asked for.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::codec::Lines;
    /// use sockeye::server::Server;
    /// # use std::time::Duration;
    ///
    /// # let path = std::env::temp_dir().join(format!("sockeye-doc-admit-{}", std::process::id()));
    /// let server = Server::unix(&path)
    ///     .admit_unix(|peer| peer.uid == 0 || peer.uid == 1000)
    ///     .codec(Lines::default())
    ///     .serve(|line, cx| cx.send(line))?;
    /// # server.stop(Duration::from_secs(1));
    /// # server.join()?;
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn admit_unix(
        mut self,
        admit: impl Fn(&Credentials) -> bool + Send + Sync + 'static,
    ) -> Server<C, E> {
        self.settings.unix.admit = Some(Arc::new(admit));
        self
    }

    /// Lets descriptors ride on what Unix stream and seqpacket connections carry (`SCM_RIGHTS`); off by
    /// default. Handlers have those that came from
    /// [`Context::take_descriptors`](crate::handler::Context::take_descriptors), close-on-exec, and send
    /// some by [`Context::send_with_descriptors`](crate::handler::Context::send_with_descriptors).
    ///
    /// What a handler does not take is closed. At most 16 ride on one message: more, or some for which
    /// this process has no room, end the session with
    /// [`CloseReason::Transport`](crate::handler::CloseReason::Transport), and all are closed. Datagram
    /// endpoints and adopted connections pass none. A blocking function has its socket, and passes what it
    /// likes.
    ///
    /// Off, peers are refused where the kernel can (`EPERM`, Linux 6.16), and elsewhere what they send is
    /// closed by the kernel: it never gets into this process.
    ///
    /// # Examples
    ///
    /// ```
    /// use sockeye::codec::Lines;
    /// use sockeye::handler::{Context, Outcome};
    /// use sockeye::server::Server;
    /// use std::{fs::File, io::Read};
    ///
    /// # let path = std::env::temp_dir().join(format!("sockeye-doc-fds-{}", std::process::id()));
    /// let server = Server::unix(&path)
    ///     .descriptors(true)
    ///     .codec(Lines::default())
    ///     .serve(|_line: &str, cx: &mut Context<'_, Lines>| -> Outcome {
    ///         for file in cx.take_descriptors() {
    ///             let mut text = String::new();
    ///             File::from(file).read_to_string(&mut text)?;
    ///             cx.send(&format!("{} bytes", text.len()));
    ///         }
    ///         Ok(())
    ///     })?;
    /// # server.stop(std::time::Duration::from_secs(1));
    /// # server.join()?;
    /// # Ok::<(), sockeye::Error>(())
    /// ```
    pub fn descriptors(mut self, pass: bool) -> Server<C, E> {
        self.settings.unix.descriptors = pass;
        self
    }
}
