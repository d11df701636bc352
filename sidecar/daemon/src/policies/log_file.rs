//! A file of lines that others may move away: it is there again with the next line, as logrotate wants it.
//!
//! Owns that each of its lines is whole, or is not followed by another on the same line. Must not know what is written.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Who asked for what is not for everybody: its owner writes, its group reads.
const MODE: u32 = 0o640;

/// See the module.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Its last line is not whole.
    torn: bool,
}

impl LogFile {
    /// The file at `path`, made if there is none; more is added at its end.
    pub(super) fn open(path: &Path) -> io::Result<LogFile> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
        let torn = is_torn(&file)?;
        Ok(LogFile { path: path.to_owned(), file, torn })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds whole lines.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if !self.is_there() {
            *self = LogFile::open(&self.path)?;
        }
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        // What did not fit on the disk may have ended within a line.
        self.file.write_all(lines).inspect_err(|_| self.torn = true)
    }

    /// Whether what is at the path is still the same file.
    fn is_there(&self) -> bool {
        let place = |file: Metadata| (file.dev(), file.ino());
        let at_path = std::fs::metadata(&self.path).map(place);
        at_path.is_ok_and(|there| self.file.metadata().map(place).is_ok_and(|here| here == there))
    }
}

/// Whether a writer died within its last line.
fn is_torn(file: &File) -> io::Result<bool> {
    let about = file.metadata()?;
    if !about.is_file() || about.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.read_exact_at(&mut last, about.len() - 1)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_was_moved_away_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut log = LogFile::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0, "no more than 0640");
        log.append(b"a\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        log.append(b"b\nc\n").unwrap();
        fs::remove_file(&path).unwrap();
        log.append(b"d\n").unwrap();
        let text = |path| fs::read_to_string(path).unwrap();
        assert_eq!((text(&moved), text(&path)), ("a\n".into(), "d\n".into()));
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "whole\ncut o").unwrap();
        let mut log = LogFile::open(&path).unwrap();
        log.append(b"a\n").unwrap();
        log.append(b"b\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\ncut o\na\nb\n");
    }

    #[test]
    fn a_folder_is_no_file_to_write_to() {
        let folder = tempfile::tempdir().unwrap();
        assert!(LogFile::open(folder.path()).is_err());
        assert!(LogFile::open(&folder.path().join("none/log")).is_err());
    }
}
