//! The rules on registers on hand-made histories: good ones, and each rule broken once.

use super::Rule;
use super::history::*;
use super::tests::{Tale, req};
use super::value::{Act, Asked, Stored, Told, Value, Version};

const FIRST: Req = req(0, 0);
const SECOND: Req = req(2, 0);

fn version(number: u64) -> Version {
    Version { number, sidecar: 0, seq: number }
}

fn put(base: Option<u64>) -> Act {
    Act::Put { base: base.map(version) }
}

impl Tale {
    /// A client sends a request on register 0, under a lease of key 0.
    fn wants(&mut self, at: u64, of: Req, act: Act) -> &mut Tale {
        self.add(at, Event::Sent { of, what: Sent::Register(Asked { register: 0, under: Some(0), act }) })
    }

    /// The store runs a put.
    fn puts(&mut self, at: u64, by: Req, number: u64, fence: u64) -> &mut Tale {
        let value = Some(Value { count: number, by });
        self.add(
            at,
            Event::Stored(Stored { register: 0, version: version(number), value, fence: Some(fence) }),
        )
    }

    /// The store runs a deletion.
    fn deletes(&mut self, at: u64, number: u64) -> &mut Tale {
        self.add(
            at,
            Event::Stored(Stored { register: 0, version: version(number), value: None, fence: None }),
        )
    }

    fn told(&mut self, at: u64, of: Req, answer: Answer) -> &mut Tale {
        self.add(at, Event::Answered { of, answer })
    }

    /// The first client writes version 1 under token 100.
    fn written() -> Tale {
        let mut tale = Tale::new();
        tale.wants(10, FIRST, put(None)).puts(11, FIRST, 1, 100);
        tale.told(12, FIRST, Answer::Told(Told::Written(version(1))));
        tale
    }

    fn breaks_only(&self, rule: Rule) {
        assert_eq!(self.rules(), [rule]);
    }
}

#[test]
fn one_after_the_other_loses_nothing() {
    Tale::written().wants(20, SECOND, put(Some(1))).puts(21, SECOND, 2, 101).is_good();
    Tale::written().deletes(20, 2).wants(30, SECOND, put(None)).puts(31, SECOND, 3, 101).is_good();
}

#[test]
fn a_write_over_what_its_writer_had_not_read_loses_an_update() {
    Tale::written().wants(20, SECOND, put(None)).puts(21, SECOND, 2, 101).breaks_only(Rule::LostUpdate);
    let mut tale = Tale::written();
    tale.deletes(20, 2).wants(30, SECOND, put(Some(1))).puts(31, SECOND, 3, 101);
    tale.breaks_only(Rule::LostUpdate);
}

#[test]
fn what_the_store_lost_is_no_update_that_a_write_lost() {
    // Its holder had read version 1, and the store lost that, once or twice, before the write came.
    Tale::written()
        .wants(20, SECOND, put(Some(1)))
        .add(21, Event::Flushed)
        .puts(22, SECOND, 2, 101)
        .is_good();
    let mut twice = Tale::written();
    twice.wants(20, SECOND, put(Some(1))).add(21, Event::Flushed).add(22, Event::Flushed);
    twice.puts(23, SECOND, 2, 101).is_good();
    // Or its own write had come before the loss, and comes again.
    let mut again = Tale::written();
    again.wants(20, SECOND, put(Some(1))).puts(21, SECOND, 2, 101).add(22, Event::Flushed);
    again.puts(23, SECOND, 3, 101).is_good();
    // Or it had read that it was gone.
    Tale::written().add(20, Event::Flushed).wants(21, SECOND, put(None)).puts(22, SECOND, 2, 101).is_good();
}

#[test]
fn a_write_from_before_a_loss_over_one_from_after_it_loses_an_update() {
    let third = req(1, 0);
    let mut tale = Tale::written();
    tale.wants(20, SECOND, put(Some(1))).add(21, Event::Flushed);
    tale.wants(22, third, put(None)).puts(23, third, 2, 101).puts(24, SECOND, 3, 101);
    tale.breaks_only(Rule::LostUpdate);
    // Also if what came after it was deleted again.
    let mut tale = Tale::written();
    tale.wants(20, SECOND, put(Some(1))).add(21, Event::Flushed);
    tale.wants(22, third, put(None)).puts(23, third, 2, 101).deletes(24, 3).puts(25, SECOND, 4, 101);
    tale.breaks_only(Rule::LostUpdate);
    // And a version that was replaced before the loss was not lost.
    let mut tale = Tale::written();
    tale.wants(20, SECOND, put(Some(1))).wants(21, third, put(Some(1))).puts(22, third, 2, 101);
    tale.add(23, Event::Flushed).puts(24, SECOND, 3, 101);
    tale.breaks_only(Rule::LostUpdate);
}

#[test]
fn versions_rise() {
    let mut tale = Tale::new();
    tale.wants(10, FIRST, put(None)).puts(11, FIRST, 5, 100);
    tale.wants(20, SECOND, put(Some(5))).puts(21, SECOND, 4, 101);
    tale.breaks_only(Rule::VersionOrder);
}

#[test]
fn a_token_gets_in_after_no_later_one() {
    Tale::written().wants(20, SECOND, put(Some(1))).puts(21, SECOND, 2, 99).breaks_only(Rule::FencedLate);
    let looked = Event::Looked { register: 0, fence: 99 };
    Tale::written().add(20, looked).breaks_only(Rule::FencedLate);
}

#[test]
fn a_write_runs_once_and_its_writer_hears_what_became_of_it() {
    let stale = Answer::Refused(Refused::Other);
    let mut late = Tale::written();
    late.wants(20, SECOND, put(Some(1))).told(21, SECOND, stale).puts(22, SECOND, 2, 101);
    late.breaks_only(Rule::WriteOutcome);
    let mut twice = Tale::written();
    twice.wants(20, SECOND, put(Some(1))).puts(21, SECOND, 2, 101).deletes(22, 3).puts(23, SECOND, 4, 101);
    twice.breaks(Rule::WroteTwice);
    Tale::written()
        .wants(20, SECOND, put(Some(1)))
        .told(21, SECOND, Answer::Told(Told::Written(version(2))))
        .breaks_only(Rule::WriteOutcome);
}

#[test]
fn a_read_shows_what_was_there_after_it_was_asked_for() {
    let read = |number, by| {
        let value = Value { count: number, by };
        Answer::Told(Told::Read { version: version(number), value })
    };
    Tale::written().wants(20, SECOND, Act::Get).told(21, SECOND, read(1, FIRST)).is_good();
    Tale::written().wants(20, SECOND, Act::Get).told(21, SECOND, read(7, FIRST)).breaks_only(Rule::StaleRead);
    let mut replaced = Tale::written();
    replaced.deletes(15, 2).wants(20, SECOND, Act::Get).told(21, SECOND, read(1, FIRST));
    replaced.breaks_only(Rule::StaleRead);
}
