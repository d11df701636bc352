//! Keys out of names of any length.
//!
//! Owns how a name that is too long becomes a key. Every SDK does it alike, byte for byte, or two programs that mean the same
//! lock would take two.

use sha1_smol::Sha1;

/// Most bytes a key may have.
const KEY_BYTES_MAX: usize = 512;
/// Between what can be read of the name and its hash.
const SEPARATOR: char = '#';
/// Hexadecimal digits of a SHA-1.
const HASH_DIGITS: usize = 40;

/// A key for a name that may be too long for one: an address, a path, a query.
///
/// A name of up to 512 bytes is its own key. Of a longer one the key is: as many of its first characters as fit in 471
/// bytes of UTF-8, whole ones; `#`; and the SHA-1 of all of its bytes in 40 lower-case hexadecimal digits. The same name
/// always becomes the same key, in every language. Two names that become the same key share a lock, which costs waiting and
/// nothing else; it does not happen unless somebody constructs them on purpose.
///
/// ```
/// let url = format!("https://example.com/{}", "x".repeat(600));
/// let key = sidelock_client::safe_key(&url);
/// assert!(key.starts_with("https://example.com/xxx") && key.len() == 512);
/// assert_eq!(sidelock_client::safe_key("orders/42"), "orders/42");
/// ```
pub fn safe_key(name: &str) -> String {
    if name.len() <= KEY_BYTES_MAX {
        return name.to_owned();
    }
    let room = KEY_BYTES_MAX - HASH_DIGITS - SEPARATOR.len_utf8();
    let readable = (0..=room).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{SEPARATOR}{}", &name[..readable], Sha1::from(name).digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For the authors of other SDKs: what becomes of these names is what has to become of them there.
    #[test]
    fn golden_values() {
        for (name, readable, hash) in [
            ("a".repeat(513), "a".repeat(471), "87ecd7233dbe9d7543a9a199fc671a90e469873d"),
            ("ключ/".repeat(60), "ключ/".repeat(52) + "к", "59e053b83d7c67a9a5dd4c9d0ca9069e8327cf5e"),
            ("x".repeat(100_000), "x".repeat(471), "f6ee99edde6199a3e982c46ef72bdd5cb5e41ddf"),
        ] {
            let key = safe_key(&name);
            assert_eq!(key, format!("{readable}#{hash}"));
            assert!(key.len() <= KEY_BYTES_MAX);
        }
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        for name in ["", "orders/42", &"é".repeat(256)] {
            assert_eq!(safe_key(name), name);
        }
    }
}
