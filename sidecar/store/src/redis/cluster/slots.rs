//! Which slot a name belongs to, and what a node says about one that is elsewhere.
//!
//! Owns the arithmetic of slots and the words of redirections (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).
//! Must not know nodes.

use sidelock_engine::store::{Fault, Outcome};

/// Slots of a cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// A slot's number.
pub(crate) type Slot = u16;

/// The slot of a key or a channel: of what stands in its first braces, if something does.
pub(crate) fn slot_of(name: &str) -> Slot {
    let tagged = || {
        let (_, rest) = name.split_once('{')?;
        rest.split_once('}').map(|(tag, _)| tag).filter(|tag| !tag.is_empty())
    };
    crc16(tagged().unwrap_or(name).as_bytes()) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ CRC_OF_BYTE[usize::from((crc >> 8) as u8 ^ byte)])
}

/// That of each byte: every call's slot is computed.
const CRC_OF_BYTE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Another node has it. Nothing ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redirect<'a> {
    pub(crate) slot: Slot,
    /// Empty: the host of whoever says it.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Only this one call, and only if it says ASKING first: the slot is on its way there.
    pub(crate) asking: bool,
}

/// What an outcome says of another node, if it does.
pub(crate) fn redirect(outcome: &Outcome) -> Option<Redirect<'_>> {
    match outcome {
        Outcome::NotApplied(Fault::Unready(text)) => redirect_of(text),
        _ => None,
    }
}

/// What an error says of another node, if it does.
pub(crate) fn redirect_of(text: &str) -> Option<Redirect<'_>> {
    let mut words = text.split(' ');
    let asking = match words.next()? {
        "MOVED" => false,
        "ASK" => true,
        _ => return None,
    };
    let slot = words.next()?.parse().ok().filter(|slot| *slot < SLOTS)?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    // A node that is to be known by a name, and has none yet.
    let known = host != "?";
    known.then_some(Redirect { slot, host, port: port.parse().ok()?, asking })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As CLUSTER KEYSLOT of 7.0.15 says.
        for (name, slot) in [("foo", 12_182), ("{foo}bar", 12_182), ("a{}b", 13_694), ("a{}{b}", 15_033)] {
            assert_eq!(slot_of(name), slot, "{name}");
        }
    }

    #[test]
    fn a_redirection_names_slot_and_node() {
        let said = |text: &str| Outcome::NotApplied(Fault::Unready(text.into()));
        let to = |slot, host, port, asking| Some(Redirect { slot, host, port, asking });
        assert_eq!(redirect(&said("MOVED 3999 127.0.0.1:6381")), to(3999, "127.0.0.1", 6381, false));
        assert_eq!(redirect(&said("ASK 0 ::1:7000")), to(0, "::1", 7000, true));
        assert_eq!(redirect(&said("MOVED 1 :7000")), to(1, "", 7000, false));
        for other in [
            "TRYAGAIN Multiple keys",
            "MOVED 16384 h:1",
            "MOVED 1 h",
            "MOVED 1 ?:6379",
            "MOVED",
            "CLUSTERDOWN",
        ] {
            assert_eq!(redirect(&said(other)), None, "{other}");
        }
        assert_eq!(
            redirect(&Outcome::Unknown(Fault::Unready("MOVED 1 h:1".into()))),
            None,
            "it may have run"
        );
    }
}
