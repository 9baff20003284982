//! Many messages by loops, for systems that have no call for more than one. Linux has them, and runs these in
//! their test alone.

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Header {
    pub(super) msg_hdr: libc::msghdr,
    pub(super) msg_len: libc::c_uint,
}

/// # Safety
///
/// As for recvmmsg(2).
pub(super) unsafe fn receive_many(
    socket: libc::c_int,
    headers: *mut Header,
    count: libc::c_uint,
    flags: libc::c_int,
    _forever: *mut libc::timespec,
) -> libc::c_int {
    let flags = flags & !MSG_WAITFORONE;
    let mut received = 0;
    for index in 0..count as usize {
        let wait = if index == 0 { 0 } else { libc::MSG_DONTWAIT };
        // SAFETY: the caller has `count` headers there, each good for recvmsg(2).
        let length = unsafe {
            let header = headers.add(index);
            libc::recvmsg(socket, &raw mut (*header).msg_hdr, flags | wait)
        };
        let Ok(length) = length.try_into() else { break };
        // SAFETY: as above.
        unsafe { (*headers.add(index)).msg_len = length };
        received += 1;
    }
    if received == 0 && count > 0 { -1 } else { received }
}

/// # Safety
///
/// As for sendmmsg(2).
pub(super) unsafe fn send_many(
    socket: libc::c_int,
    headers: *mut Header,
    count: libc::c_uint,
    flags: libc::c_int,
) -> libc::c_int {
    let mut sent = 0;
    for index in 0..count as usize {
        // SAFETY: the caller has `count` headers there, each good for sendmsg(2).
        let length = unsafe {
            let header = headers.add(index);
            libc::sendmsg(socket, &raw const (*header).msg_hdr, flags)
        };
        if length < 0 {
            break;
        }
        sent += 1;
    }
    if sent == 0 && count > 0 { -1 } else { sent }
}

/// It is of recvmmsg(2) alone.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MSG_WAITFORONE: libc::c_int = libc::MSG_WAITFORONE;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const MSG_WAITFORONE: libc::c_int = 0;

#[cfg(test)]
mod tests {
    use super::super::messages::{header_of, vector_of};
    use super::*;
    use std::io;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    #[test]
    fn loops_do_as_the_calls_for_many() {
        let (one, other) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        one.connect(other.local_addr().unwrap()).unwrap();
        other.set_nonblocking(true).unwrap();
        let too_long = vec![0; 70_000];
        let payloads = [&b"one"[..], b"", b"three", &too_long, b"five"];
        let mut vectors = payloads.map(vector_of);
        let mut headers = vectors
            .each_mut()
            .map(|vector| Header { msg_hdr: header_of(vector, &[], &[]), msg_len: 0 });
        // SAFETY: five headers, whose vectors and bytes outlive the call.
        let send = |headers: &mut [Header]| unsafe {
            let count = headers.len() as libc::c_uint;
            send_many(one.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_NOSIGNAL)
        };
        assert_eq!(send(&mut headers), 3, "up to the first that fails");
        assert_eq!(send(&mut headers[3..]), -1);
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EMSGSIZE));
        assert_eq!(send(&mut headers[4..]), 1);

        let mut buffers = [[0_u8; 4]; 8];
        let mut vectors = buffers.each_mut().map(|buffer| libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        });
        let mut headers = vectors
            .each_mut()
            .map(|vector| Header { msg_hdr: header_of(vector, &[], &[]), msg_len: 0 });
        // SAFETY: eight headers, whose vectors and buffers outlive the call.
        let mut receive = || unsafe {
            let (headers, flags) = (headers.as_mut_ptr(), libc::MSG_WAITFORONE | libc::MSG_TRUNC);
            let forever = std::ptr::null_mut();
            receive_many(other.as_raw_fd(), headers, 8, flags, forever)
        };
        assert_eq!(receive(), 4);
        assert_eq!(receive(), -1, "nothing is there");
        assert_eq!(headers.map(|header| header.msg_len)[..4], [3, 0, 5, 4]);
        assert_eq!(&buffers[..4], [*b"one\0", [0; 4], *b"thre", *b"five"]);
    }
}
