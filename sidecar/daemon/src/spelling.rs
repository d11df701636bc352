//! Guesses what somebody meant who misspelt a name.
//!
//! Owns the measure of likeness. Knows no name.

/// Mistakes (a letter too many, too few, wrong, or two swapped) up to which a name is taken for another one: so many, and a third
/// of its letters.
const MISTAKES_MAX: usize = 2;

/// The known name that is most like `word`, if any is like it at all.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|name| (strsim::osa_distance(word, name), *name));
    // A word of two letters is two mistakes away from every other one.
    let likely = scored.filter(|(mistakes, name)| {
        *mistakes <= MISTAKES_MAX.max(name.len() / 3) && *mistakes < name.len() / 2 + 1
    });
    likely.min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["wait", "ttl", "max_hold", "mode"];
        assert_eq!(nearest("wiat", &known), Some("wait"));
        assert_eq!(nearest("tll", &known), Some("ttl"));
        assert_eq!(nearest("maxhold", &known), Some("max_hold"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("x", &known), None);
    }
}
