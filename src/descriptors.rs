//! Descriptors on their way between a handler and its socket: plain values, opened and used elsewhere.

use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;

/// Open descriptors, which are closed when this is dropped.
///
/// What [`Context::take_descriptors`](crate::handler::Context::take_descriptors) gives and
/// [`Context::send_with_descriptors`](crate::handler::Context::send_with_descriptors) takes.
///
/// ```
/// use sockeye::handler::Descriptors;
/// use std::{fs::File, os::fd::OwnedFd};
///
/// let descriptors = Descriptors::from(File::open("/dev/null")?);
/// assert_eq!(descriptors.len(), 1);
/// let file: Option<OwnedFd> = descriptors.into_iter().next();
/// # assert!(file.is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Default)]
pub struct Descriptors(Vec<OwnedFd>);

impl Descriptors {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// To look at, and not to keep.
    pub fn as_slice(&self) -> &[OwnedFd] {
        &self.0
    }

    /// Puts others behind these.
    pub(crate) fn append(&mut self, mut others: Descriptors) {
        self.0.append(&mut others.0);
    }
}

impl From<OwnedFd> for Descriptors {
    fn from(descriptor: OwnedFd) -> Descriptors {
        Descriptors(vec![descriptor])
    }
}

impl From<File> for Descriptors {
    fn from(file: File) -> Descriptors {
        Descriptors(vec![file.into()])
    }
}

impl From<Vec<OwnedFd>> for Descriptors {
    fn from(descriptors: Vec<OwnedFd>) -> Descriptors {
        Descriptors(descriptors)
    }
}

impl FromIterator<OwnedFd> for Descriptors {
    fn from_iter<I: IntoIterator<Item = OwnedFd>>(descriptors: I) -> Descriptors {
        Descriptors(descriptors.into_iter().collect())
    }
}

impl IntoIterator for Descriptors {
    type Item = OwnedFd;
    type IntoIter = std::vec::IntoIter<OwnedFd>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Debug for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}
