//! Patterns over whole keys: `*` stands for anything but `/`, `**` for anything, `?` for one character but `/`.
//!
//! Owns matching. Knows no setting.

/// Whether the pattern fits the whole key.
pub fn glob(pattern: &str, key: &str) -> bool {
    fits_all(pattern.as_bytes(), key.as_bytes())
}

/// Backtracks only to the latest star of each kind, so the time is bounded by pattern × key.
fn fits_all(pattern: &[u8], key: &[u8]) -> bool {
    let (mut p, mut k) = (0, 0);
    // Where to go on when what follows a star does not fit: the star, and the first byte it does not cover yet.
    let mut star: Option<(usize, usize)> = None;
    let mut double: Option<(usize, usize)> = None;
    loop {
        if pattern[p..].starts_with(b"**") {
            double = Some((p + 2, k));
            star = None;
            p += 2;
        } else if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, k));
            p += 1;
        } else if p == pattern.len() && k == key.len() {
            return true;
        } else if let Some(length) = key.get(k).and_then(|byte| fits(pattern.get(p), *byte)) {
            p += 1;
            k += length;
        } else if let Some((after, covered)) =
            star.filter(|(_, covered)| key.get(*covered).is_some_and(|b| *b != b'/'))
        {
            star = Some((after, covered + 1));
            (p, k) = (after, covered + 1);
        } else if let Some((after, covered)) = double.filter(|(_, covered)| *covered < key.len()) {
            double = Some((after, covered + 1));
            star = None;
            (p, k) = (after, covered + 1);
        } else {
            return false;
        }
    }
}

/// How many bytes of the key, of which `byte` is the next, this piece of the pattern covers; nothing if it does not fit.
fn fits(pattern: Option<&u8>, byte: u8) -> Option<usize> {
    match pattern {
        Some(b'?') => character(byte).filter(|_| byte != b'/'),
        Some(wanted) => (*wanted == byte).then_some(1),
        None => None,
    }
}

/// Bytes of the character that begins with this byte of a text (RFC 3629); nothing if none does: a star may have covered
/// the first bytes of one.
fn character(byte: u8) -> Option<usize> {
    match byte {
        0..0x80 => Some(1),
        0x80..0xc0 => None,
        0xc0..0xe0 => Some(2),
        0xe0..0xf0 => Some(3),
        0xf0.. => Some(4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_they_say() {
        for (pattern, key, fits) in [
            ("pay/**", "pay/eu/42", true),
            ("pay/**", "pay/", true),
            ("pay/**", "payment", false),
            ("pay/*", "pay/42", true),
            ("pay/*", "pay/eu/42", false),
            ("*/x", "a/x", true),
            ("*/x", "a/b/x", false),
            ("**/x", "a/b/x", true),
            ("**", "", true),
            ("*", "a/b", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("**/b*/c", "b/a/bx/c", true),
            ("**/b*/c", "b/a/bx/y/c", false),
            ("*a*b", "xxaxxab", true),
            ("a?c", "a€c", true),
            ("a??c", "aéc", false),
            ("*??", "€", false),
            ("*?", "a€", true),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern, key), fits, "{pattern} {key}");
        }
    }
}
