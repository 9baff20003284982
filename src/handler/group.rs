//! Groups: one frame for many sessions.
//!
//! ```text
//!   send(item) ─► encoded once ─┬─► one letter ─► worker 1 ─► its members, one after the other
//!                               └─► one letter ─► worker 2 ─► its members
//! ```
//!
//! What waits for a worker is bounded in bytes, and what a member has not read yet by its own hard
//! limit. So a member that does not read costs the others nothing: [`OnSlow`] says what becomes of it.

use super::letter::{Frame, Letter, Line, SendError, What};
use super::publication::{Ledger, Members, OnSlow, Publication};
use super::remote::Remote;
use crate::codec::Codec;
use crate::mailbox::Mailbox;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sessions that are spoken to together: the people in a room of a chat, the subscribers of a ticker.
///
/// A frame is encoded once, on the caller's thread, and shared by all; each worker gets one letter
/// for all the members it has. Nothing here blocks. All members see the frames of a group in one order;
/// who of them is first changes. They may be on several servers and engines, streams and datagrams mixed.
///
/// What a member has not taken yet counts against its session's
/// [`output_bytes_max`](crate::limits::Limits::output_bytes_max). A frame that would exceed it meets
/// the group's [`OnSlow`]; the other members do not notice.
///
/// A clone is the same group.
///
/// # Examples
///
/// Whatever somebody says is heard by everybody:
///
/// ```
/// use sockeye::codec::Lines;
/// use sockeye::handler::{Context, Group, Handler, Membership, OnSlow, Outcome};
/// use sockeye::{Client, Server};
/// # use std::time::Duration;
///
/// struct Talker {
///     room: Group<Lines>,
///     seat: Option<Membership>,
/// }
///
/// impl Handler<Lines> for Talker {
///     fn on_open(&mut self, cx: &mut Context<'_, Lines>) -> Outcome {
///         self.seat = Some(self.room.join(&cx.remote()));
///         Ok(cx.send("welcome"))
///     }
///     fn on_frame(&mut self, line: &str, _: &mut Context<'_, Lines>) -> Outcome {
///         self.room.send(line)?;
///         Ok(())
///     }
/// }
///
/// let room = Group::new(Lines::default(), OnSlow::Close);
/// let server = Server::tcp("127.0.0.1:0")
///     .codec(Lines::default())
///     .serve_with(move |_| Talker { room: room.clone(), seat: None })?;
///
/// let enter = || Client::to(&server.local_endpoints()[0]).codec(Lines::default()).connect();
/// let (mut ann, mut bob) = (enter()?, enter()?);
/// for talker in [&mut ann, &mut bob] {
///     assert_eq!(talker.receive()?, "welcome");
/// }
/// ann.send("hello")?;
/// assert_eq!(ann.receive()?, "hello");
/// assert_eq!(bob.receive()?, "hello");
/// # server.stop(Duration::from_secs(1));
/// # Ok::<(), sockeye::Error>(())
/// ```
pub struct Group<C: Codec> {
    shared: Arc<Shared>,
    codec: C,
}

/// A session's place in a [`Group`]; dropping it leaves the group.
///
/// A handler that keeps it leaves with its session. A session that joins twice still hears everything
/// once, until it has left twice.
#[must_use = "dropping it leaves the group"]
pub struct Membership {
    shared: Arc<Shared>,
    line: Arc<Line>,
}

struct Shared {
    on_slow: OnSlow,
    missed: Arc<AtomicU64>,
    roster: Mutex<Roster>,
}

struct Roster {
    lanes: Vec<Lane>,
    /// Where the lane of a mailbox is, by the mailbox's address, which the lane keeps alive.
    places: HashMap<usize, usize>,
    /// How many memberships each session has, by the address of its line, which they keep alive.
    members: HashMap<usize, usize>,
    queue_bytes_max: usize,
}

/// The members that one worker has.
struct Lane {
    letters: Arc<Mailbox<Letter>>,
    members: Arc<Members>,
}

impl<C: Codec> Group<C> {
    /// A group without members, whose frames this codec encodes.
    pub fn new(codec: C, on_slow: OnSlow) -> Group<C> {
        let (lanes, places, members) = (Vec::new(), HashMap::new(), HashMap::new());
        let roster = Roster { lanes, places, members, queue_bytes_max: QUEUE_BYTES_MAX };
        let (missed, roster) = (Arc::default(), Mutex::new(roster));
        Group { shared: Arc::new(Shared { on_slow, missed, roster }), codec }
    }

    /// Lets so many bytes of frames, encoded, wait for one worker. Default: 4 MiB.
    ///
    /// A worker is behind when its handlers take long, or when more is said than it can pass on to
    /// all of its members.
    #[must_use]
    pub fn queue_bytes_max(self, bytes: usize) -> Group<C> {
        self.shared.roster().queue_bytes_max = bytes;
        self
    }

    /// Makes the session a member: it gets every frame that is sent from now on.
    pub fn join(&self, remote: &Remote<C>) -> Membership {
        let line = remote.line().clone();
        let mut roster = self.shared.roster();
        let memberships = roster.members.entry(Arc::as_ptr(&line).addr()).or_default();
        *memberships += 1;
        if *memberships == 1 {
            let Roster { lanes, places, .. } = &mut *roster;
            let place = *places.entry(address(line.letters())).or_insert_with(|| {
                lanes.push(self.shared.lane(line.letters().clone()));
                lanes.len() - 1
            });
            // Copied only while a letter that names the old members is under way.
            Arc::make_mut(&mut lanes[place].members).push(line.clone());
        }
        drop(roster);
        Membership { shared: self.shared.clone(), line }
    }

    /// Queues a frame for every member and says how many that are. Never blocks.
    ///
    /// # Errors
    ///
    /// Nobody gets the frame: [`SendError::Full`] when a worker of an event loop is too far behind (it
    /// is not one member's fault; try again later; on threads a member whose thread is behind is slow), [`SendError::TooLarge`] when it is longer than
    /// [`queue_bytes_max`](Group::queue_bytes_max), [`SendError::Frame`] when the codec refuses it.
    pub fn send(&self, item: &C::Item) -> Result<usize, SendError> {
        self.publish(item, None)
    }

    /// As [`send`](Group::send), for every member but this session, such as the one that speaks.
    ///
    /// # Errors
    ///
    /// As [`send`](Group::send).
    pub fn send_except(&self, item: &C::Item, remote: &Remote<C>) -> Result<usize, SendError> {
        self.publish(item, Some(remote.line()))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.shared.roster().members.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many frames members have missed, together, because they were slow.
    pub fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    fn publish(&self, item: &C::Item, except: Option<&Arc<Line>>) -> Result<usize, SendError> {
        let frame = Frame::encode(&self.codec, item).map_err(SendError::Frame)?;
        self.shared.publish(&frame, except)
    }
}

impl Shared {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        // No code of users runs under this lock, so a poisoned roster is still a whole one.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the first member of a worker.
    fn lane(&self, letters: Arc<Mailbox<Letter>>) -> Lane {
        let (on_slow, missed) = (self.on_slow, self.missed.clone());
        let ledger = Ledger { on_slow, missed, waiting: AtomicUsize::new(0) };
        Lane { letters, members: Arc::new(Members::none(ledger)) }
    }

    fn publish(&self, frame: &Frame, except: Option<&Arc<Line>>) -> Result<usize, SendError> {
        // Held to the end, so that all members see all frames in the same order.
        let roster = self.roster();
        let bytes = frame.bytes.len();
        let charge = bytes + LETTER_BYTES;
        let limit = roster.queue_bytes_max;
        if bytes > limit {
            return Err(SendError::TooLarge { bytes, limit });
        }
        let is_behind = |lane: &Lane| {
            let waiting = lane.ledger().waiting.load(Ordering::SeqCst);
            (waiting > 0 && waiting + charge > limit + LETTER_BYTES) || lane.letters.is_full()
        };
        // One member's own thread that is behind is that member's affair.
        if roster.lanes.iter().any(|lane| !lane.letters.is_private() && is_behind(lane)) {
            return Err(SendError::Full);
        }
        let is_member = |line: &&Arc<Line>| roster.members.contains_key(&Arc::as_ptr(line).addr());
        let except = except.filter(is_member);
        let mut count = 0;
        for lane in &roster.lanes {
            let Lane { letters, members } = lane;
            let except = except.filter(|line| address(line.letters()) == address(letters));
            let receivers = members.lines().len() - usize::from(except.is_some());
            match members.lines().first() {
                _ if receivers == 0 => {}
                Some(alone) if letters.is_private() && is_behind(lane) => {
                    self.fall_behind(alone, lane, charge, limit);
                }
                _ => {
                    count += receivers;
                    let add = |last: &mut Letter| match last {
                        Letter::All(last) => last.add(frame, members, except, charge),
                        Letter::To(..) => false,
                    };
                    // Its bytes are bounded here.
                    letters.add_or_push_beyond(add, || {
                        let (members, except) = (members.clone(), except.cloned());
                        Letter::All(Publication::new(frame.clone(), members, except, charge))
                    });
                }
            }
        }
        Ok(count)
    }

    /// A session that does not even take its letters.
    fn fall_behind(&self, line: &Arc<Line>, lane: &Lane, charge: usize, limit: usize) {
        match self.on_slow {
            OnSlow::Drop => {
                lane.ledger().miss(line);
                line.starve();
            }
            OnSlow::Close => {
                let bytes = lane.ledger().waiting.load(Ordering::SeqCst) + charge;
                line.cut(What::Overflow { bytes, limit });
            }
        }
    }
}

impl Lane {
    fn ledger(&self) -> &Ledger {
        &self.members.ledger
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut roster = self.shared.roster();
        let line = Arc::as_ptr(&self.line).addr();
        let Some(memberships) = roster.members.get_mut(&line) else { return };
        *memberships -= 1;
        if *memberships > 0 {
            return;
        }
        roster.members.remove(&line);
        let letters = address(self.line.letters());
        let Roster { lanes, places, .. } = &mut *roster;
        let Some(place) = places.get(&letters).copied() else { return };
        let lane = &mut lanes[place];
        Arc::make_mut(&mut lane.members).remove(&self.line);
        if lane.members.lines().is_empty() {
            places.remove(&letters);
            lanes.swap_remove(place);
            if let Some(moved) = lanes.get(place) {
                places.insert(address(&moved.letters), place);
            }
        }
    }
}

impl<C: Codec> Clone for Group<C> {
    fn clone(&self) -> Group<C> {
        Group { shared: self.shared.clone(), codec: self.codec.clone() }
    }
}

impl<C: Codec> fmt::Debug for Group<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("members", &self.len())
            .field("on_slow", &self.shared.on_slow)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("peer", self.line.peer()).finish_non_exhaustive()
    }
}

fn address(letters: &Arc<Mailbox<Letter>>) -> usize {
    Arc::as_ptr(letters).addr()
}

/// What may wait for a worker, in bytes: a second's work for a few hundred members.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a letter costs besides its frame, so that empty frames have their limit too.
const LETTER_BYTES: usize = 128;
