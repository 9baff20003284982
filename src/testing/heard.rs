//! What the peer of a conversation has heard, and how it reads it.

use crate::codec::{Codec, Edge, Found, FrameError};
use std::collections::VecDeque;
use std::io;

/// The receiving side of a peer: what a kernel would hold for it.
pub(super) struct Heard {
    /// Messages, or all of a stream as one.
    pieces: VecDeque<Vec<u8>>,
    pub(super) messages: bool,
    bytes: usize,
    /// How many bytes fit here.
    pub(super) window: usize,
    pub(super) ended: bool,
    pub(super) reset: bool,
}

impl Heard {
    pub(super) fn new(messages: bool) -> Heard {
        let (pieces, window) = (VecDeque::new(), usize::MAX);
        Heard { pieces, messages, bytes: 0, window, ended: false, reset: false }
    }

    pub(super) fn unread(&self) -> usize {
        self.bytes
    }

    pub(super) fn room(&self) -> usize {
        self.window.saturating_sub(self.bytes)
    }

    /// Takes as much of a stream as there is room for; a message as a whole, if there is any room.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room() == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = if self.messages { bytes.len() } else { bytes.len().min(self.room()) };
        self.bytes += count;
        match self.pieces.back_mut() {
            Some(piece) if !self.messages => piece.extend_from_slice(&bytes[..count]),
            _ => self.pieces.push_back(bytes[..count].to_vec()),
        }
        Ok(count)
    }

    /// All of a stream, or the next message; empty if there is none.
    pub(super) fn next_piece(&mut self) -> Vec<u8> {
        let bytes = self.pieces.pop_front().unwrap_or_default();
        self.bytes -= bytes.len();
        bytes
    }

    /// The bytes of the next frame. What is none is thrown away.
    pub(super) fn next_frame<C: Codec>(
        &mut self,
        codec: &mut C,
    ) -> Result<Option<Vec<u8>>, FrameError> {
        let found = self.find_frame(codec);
        if found.is_err() {
            self.next_piece();
        }
        found
    }

    fn find_frame<C: Codec>(&mut self, codec: &mut C) -> Result<Option<Vec<u8>>, FrameError> {
        let edge = match (self.messages, self.ended) {
            (true, _) => Edge::Message,
            (false, true) => Edge::Eof,
            (false, false) => Edge::Open,
        };
        while let Some(piece) = self.pieces.front() {
            match codec.find(piece, edge)? {
                Found::Frame { body, used } if used > 0 || piece.is_empty() => {
                    let Some(body) = piece.get(body) else { return Err(outside()) };
                    let body = body.to_vec();
                    self.drop_front(used);
                    return Ok(Some(body));
                }
                Found::Skip { used, .. } if used > 0 => self.drop_front(used),
                Found::Nothing | Found::Need(_) if edge == Edge::Open => return Ok(None),
                Found::Nothing | Found::Need(_) => return Err(FrameError::truncated(piece)),
                Found::Frame { .. } | Found::Skip { .. } => return Err(outside()),
            }
        }
        Ok(None)
    }

    /// Drops this much of the first piece, and the piece if nothing is left.
    fn drop_front(&mut self, used: usize) {
        let Some(piece) = self.pieces.front_mut() else { return };
        let used = used.min(piece.len());
        piece.drain(..used);
        self.bytes -= used;
        if piece.is_empty() {
            self.pieces.pop_front();
        }
    }
}

fn outside() -> FrameError {
    FrameError::Protocol("the codec found a frame outside of its input".into())
}
