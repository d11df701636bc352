//! Who we are to Redis.
//!
//! Owns where user and password come from, and reads them anew for each connection, so that a rotated password is
//! followed without a restart. Must not print any of it, nor know what it is sent through.

use redis::{Cmd, RedisConnectionInfo, cmd};
use std::path::PathBuf;

/// Whom we say it to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Party {
    /// The server that keeps the locks.
    #[default]
    Server,
    /// Sentinels.
    Sentinels,
}

impl Party {
    /// The setting that names the file.
    fn setting(self) -> &'static str {
        match self {
            Party::Server => "redis.password_file",
            Party::Sentinels => "redis.sentinel_password_file",
        }
    }
}

/// User and password; each goes before the one in the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Whom they are for.
    pub party: Party,
    /// The ACL user.
    pub username: Option<String>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
}

impl Credentials {
    /// What a connection says when it introduces itself: `settings` with these instead of the ones from the URL.
    pub(super) fn put_into(&self, mut settings: RedisConnectionInfo) -> Result<RedisConnectionInfo, String> {
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = self.password()? {
            settings = settings.set_password(password);
        }
        Ok(settings)
    }

    fn password(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.password_file else { return Ok(None) };
        let (shown, setting) = (path.display(), self.party.setting());
        let text = std::fs::read_to_string(path).map_err(|error| format!("{setting}: {shown}: {error}"))?;
        match text.lines().next() {
            Some(password) if !password.is_empty() => Ok(Some(password.to_owned())),
            _ => Err(format!("{setting}: {shown}: the first line is empty; it is to be the password")),
        }
    }
}

/// The same said on a connection that stands; nothing if there is no password to say. Refused, it leaves the connection as
/// it was (<https://redis.io/docs/latest/commands/auth/>).
pub(super) fn introduction(settings: &RedisConnectionInfo) -> Option<Cmd> {
    let password = settings.password()?;
    let mut auth = cmd("AUTH");
    if let Some(username) = settings.username() {
        auth.arg(username);
    }
    auth.arg(password);
    Some(auth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(text: &str) -> Result<Option<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, text).unwrap();
        Credentials { password_file: Some(path), ..Credentials::default() }.password()
    }

    #[test]
    fn the_password_is_the_first_line() {
        assert_eq!(from_file("hunter2\n# rotated in May\n"), Ok(Some("hunter2".into())));
        assert_eq!(from_file("hunter 2\r\n"), Ok(Some("hunter 2".into())));
        for empty in ["", "\n", "\nhunter2\n"] {
            let error = from_file(empty).unwrap_err();
            assert!(error.contains("first line") && !error.contains("hunter2"), "{error}");
        }
        let nowhere =
            Credentials { password_file: Some("/nowhere/password".into()), ..Credentials::default() };
        assert!(nowhere.password().unwrap_err().contains("/nowhere/password"));
        assert_eq!(Credentials::default().password(), Ok(None));
    }
}
