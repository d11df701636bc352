//! Why a verb could not do its work: what is said about it, and the exit code.
//!
//! Owns the exit codes that no refusal of the sidecar has. Must not know verbs; the codes of refusals stand in
//! the one table that the SDK shows too.

use hyper::StatusCode;
use serde_json::Value;
use sidelock_client::{Code, Error};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Something failed that is neither the caller's mistake nor a refusal.
const EXIT_FAILED: u8 = 1;
/// The command line, the environment or the configuration is wrong.
const EXIT_USAGE: u8 = 2;
/// There is no sidecar to talk to.
const EXIT_UNREACHABLE: u8 = 5;

/// What the help says of the exit codes of all verbs.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 it failed; 2 the command line or a setting is wrong; 3 somebody else has the key, too many wait, or all
would wait for each other; 4 a policy denied it; 5 no sidecar, or it refuses this user; 6 the lease is lost, or not
yours; 124 the wait is over.";

/// A verb's failure. Shown as one line that says what to do next.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The sidecar said no.
    Refused {
        /// Its code.
        code: Code,
        /// What it said.
        message: String,
    },
    /// The SDK gave up.
    Sdk(Error),
    /// Nobody answers at this socket.
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What happened there.
        error: io::Error,
    },
    /// The caller has to say it differently.
    Usage(String),
    /// Anything else.
    Broken(String),
}

impl Failure {
    /// The caller has to say it differently.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::Usage(message.into())
    }

    /// Anything that is nobody's mistake.
    pub(crate) fn broken(message: impl Into<String>) -> Failure {
        Failure::Broken(message.into())
    }

    /// What a problem document says.
    pub(crate) fn from_problem(status: StatusCode, body: &[u8]) -> Failure {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let detail = problem["detail"].as_str();
        match problem["code"].as_str().and_then(Code::from_name) {
            Some(code) => Failure::Refused { code, message: detail.unwrap_or(code.advice()).to_owned() },
            None => Failure::broken(format!(
                "the sidecar answered {status}: {}",
                detail.unwrap_or("nothing readable")
            )),
        }
    }

    /// The code of the refusal, if it was one.
    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Failure::Refused { code, .. } => Some(*code),
            Failure::Sdk(error) => error.code(),
            Failure::Unreachable { .. } | Failure::Usage(_) | Failure::Broken(_) => None,
        }
    }

    /// Whether it may pass if one waits: there is no sidecar, it is silent, or it is about to go. One that answers and
    /// refuses will refuse again, and so will its successor.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Failure::Usage(_) => false,
            other => matches!(other.code(), None | Some(Code::Draining)),
        }
    }

    /// The exit code that stands for it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Unreachable { .. } | Failure::Sdk(Error::SidecarUnreachable { .. }) => EXIT_UNREACHABLE,
            Failure::Usage(_) => EXIT_USAGE,
            other => other.code().map_or(EXIT_FAILED, Code::exit_code),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused { code, message } => write!(f, "{code}: {message}"),
            Failure::Sdk(error) => error.fmt(f),
            Failure::Unreachable { path, error } => write!(
                f,
                "no sidecar answers at {} ({error}); start one with `sidelock serve`, or name its socket in \
                 SIDELOCK_SOCKET",
                path.display()
            ),
            Failure::Usage(message) | Failure::Broken(message) => f.write_str(message),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Sdk(error)
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Failure {
        Failure::broken(format!("the sidecar hung up in the middle of an answer ({error}); see its log"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_becomes_its_code() {
        let body = br#"{"code":"wait_timeout","detail":"held by 7"}"#;
        let failure = Failure::from_problem(StatusCode::CONFLICT, body);
        assert_eq!(failure.exit_code(), 124);
        assert_eq!(failure.to_string(), "wait_timeout: held by 7");
    }

    #[test]
    fn an_unreadable_answer_is_told_as_such() {
        let failure = Failure::from_problem(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.to_string().contains("502"));
    }

    #[test]
    fn nobody_at_the_socket_is_exit_5_and_says_where() {
        let path = PathBuf::from("/nonexistent/s.sock");
        let failure = Failure::Unreachable { path, error: io::ErrorKind::NotFound.into() };
        assert_eq!(failure.exit_code(), 5);
        assert!(failure.to_string().contains("/nonexistent/s.sock"), "{failure}");
    }

    #[test]
    fn waiting_helps_until_somebody_refuses() {
        let refused = |code| Failure::Refused { code, message: String::new() };
        let path = PathBuf::from("/nonexistent/s.sock");
        assert!(Failure::Unreachable { path, error: io::ErrorKind::NotFound.into() }.is_passing());
        assert!(Failure::broken("hung up").is_passing() && refused(Code::Draining).is_passing());
        assert!(!refused(Code::PeerRefused).is_passing() && !Failure::usage("what?").is_passing());
    }

    #[test]
    fn every_code_has_its_exit() {
        for code in Code::all() {
            let failure = Failure::Refused { code, message: String::new() };
            assert_eq!(failure.exit_code(), code.exit_code(), "{code}");
        }
    }
}
