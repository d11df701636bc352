//! One answer per request, none after a cancel was acknowledged, and none to those who have no right to it.
//!
//! Owns L5, S4, S5. Must not know time.

use super::book::{Book, Request};
use super::history::{Answer, Event, Refused, Req, Sent};
use super::value::{Act, Asked, Told};
use super::{Findings, Rule};

/// The rules on answers need no memory beyond the book's.
pub(super) fn see(event: &Event, book: &Book, found: &mut Findings) {
    let Event::Answered { of, answer } = *event else {
        return;
    };
    let Some(request) = book.request(of) else {
        return found.add(Rule::OneAnswer, || format!("{of} was answered but never sent"));
    };
    if !fits(request.what, answer) {
        found.add(Rule::OneAnswer, || format!("{of}, {:?}, was answered {answer:?}", request.what));
    }
    if answer == Answer::Cancelled {
        if request.cancels_answered > request.cancels {
            found.add(Rule::OneAnswer, || format!("{of}: more cancels acknowledged than sent"));
        }
        return;
    }
    if request.cancels_answered > 0 {
        let rule = match answer {
            Answer::Granted { .. } => Rule::GrantAfterCancel,
            _ => Rule::OneAnswer,
        };
        found.add(rule, || format!("{of} was answered {answer:?} after its cancel was acknowledged"));
    } else if request.answers > 1 {
        found.add(Rule::OneAnswer, || format!("{of} was answered again: {answer:?}"));
    }
    if matches!(answer, Answer::Renewed { .. } | Answer::Downgraded | Answer::Released | Answer::Finished) {
        entitled(of, request.what, book, found);
    }
}

/// Every request of a session that still stands must have got its answer by now.
pub(super) fn at_rest(book: &Book, found: &mut Findings) {
    for (number, session) in book.sessions.iter().enumerate() {
        if session.closed || book.sidecar(session.sidecar).crashed {
            continue;
        }
        for (request, entry) in session.requests.iter().enumerate() {
            if entry.as_ref().is_some_and(unanswered) {
                found.add(Rule::OneAnswer, || {
                    format!("session {number} request {request} was never answered: {entry:?}")
                });
            }
        }
    }
}

fn unanswered(request: &Request) -> bool {
    !request.void
        && (request.cancels_answered < request.cancels || (request.answers == 0 && request.cancels == 0))
}

fn fits(what: Sent, answer: Answer) -> bool {
    matches!(
        (what, answer),
        (
            Sent::Acquire(_),
            Answer::Granted { .. } | Answer::Done { .. } | Answer::Cancelled | Answer::Refused(_)
        ) | (Sent::Finish { .. }, Answer::Finished | Answer::Refused(_))
            | (Sent::Renew { .. }, Answer::Renewed { .. } | Answer::Refused(_))
            | (Sent::Downgrade { .. }, Answer::Downgraded | Answer::Refused(_))
            | (
                Sent::Register(Asked { act: Act::Get, .. }),
                Answer::Told(Told::Read { .. }) | Answer::Refused(_)
            )
            | (
                Sent::Register(Asked { act: Act::Watch { .. }, .. }),
                Answer::Told(Told::Read { .. } | Told::Nothing | Told::Unchanged) | Answer::Refused(_)
            )
            | (
                Sent::Register(Asked { act: Act::Put { .. }, .. }),
                Answer::Told(Told::Written(_)) | Answer::Refused(_)
            )
            | (
                Sent::Register(Asked { act: Act::Delete { .. }, .. }),
                Answer::Told(Told::Deleted) | Answer::Refused(_)
            )
            | (Sent::Release { .. }, Answer::Released | Answer::Refused(Refused::NotYours | Refused::Other))
    )
}

/// A renewal or release that was granted: had the speaker the right to it?
fn entitled(of: Req, what: Sent, book: &Book, found: &mut Findings) {
    let (Sent::Renew { lease }
    | Sent::Downgrade { lease }
    | Sent::Release { lease }
    | Sent::Finish { lease }) = what
    else {
        return;
    };
    let (Some(speaker), Some(holder)) = (book.session(of.session), book.session(lease.session)) else {
        return found.add(Rule::Recording, || format!("{of} speaks of {lease}, which nobody sent"));
    };
    if speaker.sidecar != holder.sidecar {
        found.add(Rule::OldIncarnation, || {
            format!("{of}: sidecar {} served {lease} of sidecar {}", speaker.sidecar, holder.sidecar)
        });
    } else if !book.entitled(of, lease) {
        found.add(Rule::Trespass, || {
            format!("{of} of uid {} was served {lease} of uid {}", speaker.uid, holder.uid)
        });
    }
}
