//! The scripts, put together from their files.
//!
//! Owns which files make a script and under which flags Redis runs it. Must not know when they are called.

/// One program under two flags.
macro_rules! program {
    ($shebang:literal, $end:literal) => {
        program!($shebang, "", "", "", $end)
    };
    // What a strict store does first, another of its rules, and under which verb.
    ($shebang:literal, $first:expr, $rule:expr, $verb:literal, $end:literal) => {
        concat!(
            $shebang,
            "\n",
            include_str!("../../scripts/format.lua"),
            include_str!("../../scripts/register_short.lua"),
            $first,
            // A function, so that its closures are only made where the short ways do not do.
            "\nlocal function rules()\n",
            include_str!("../../scripts/once.lua"),
            include_str!("../../scripts/record.lua"),
            include_str!("../../scripts/ask.lua"),
            $rule,
            include_str!("../../scripts/renew.lua"),
            include_str!("../../scripts/give_back.lua"),
            include_str!("../../scripts/withdraw.lua"),
            include_str!("../../scripts/finish.lua"),
            include_str!("../../scripts/board.lua"),
            include_str!("../../scripts/peek.lua"),
            include_str!("../../scripts/force.lua"),
            "\nreturn { ask, renew, give_back, withdraw, [6] = finish, [10] = publish, [11] = read_board, [12] = peek, [13] = force, ",
            $verb,
            "store = store }\nend\n",
            // Another, for calls with registers.
            "\nlocal function registers()\n",
            include_str!("../../scripts/register.lua"),
            "\nreturn { [7] = read, [8] = write, store = store }\nend\n",
            include_str!("../../scripts/turn.lua"),
            include_str!($end),
        )
    };
}

/// The same for a strict store.
macro_rules! strict_program {
    ($shebang:literal) => {
        program!(
            $shebang,
            include_str!("../../scripts/strict.lua"),
            include_str!("../../scripts/reassert.lua"),
            "[9] = reassert, ",
            "../../scripts/publish.lua"
        )
    };
}

/// For calls with an ask among them: refused, before anything runs, while Redis is out of memory.
pub(super) const TURN: &str = program!("#!lua", "../../scripts/publish.lua");
/// For calls without one: what shrinks or keeps must work when memory is short (H4).
pub(super) const TURN_UNDER_OOM: &str = program!("#!lua flags=allow-oom", "../../scripts/publish.lua");

/// The same for a node of a cluster.
pub(super) const NODE_TURN: &str = program!("#!lua", "../../scripts/hand_over.lua");
/// The same for a node of a cluster.
pub(super) const NODE_TURN_UNDER_OOM: &str = program!("#!lua flags=allow-oom", "../../scripts/hand_over.lua");

/// The same for a strict store (P20).
pub(super) const STRICT_TURN: &str = strict_program!("#!lua");
/// The same for a strict store (P20).
const STRICT_TURN_UNDER_OOM: &str = strict_program!("#!lua flags=allow-oom");

/// The two programs of a server: with an ask among the calls, and without one.
pub(super) fn programs(sharded: bool, strict: bool) -> [&'static str; 2] {
    match (sharded, strict) {
        (true, _) => [NODE_TURN, NODE_TURN_UNDER_OOM],
        (false, true) => [STRICT_TURN, STRICT_TURN_UNDER_OOM],
        (false, false) => [TURN, TURN_UNDER_OOM],
    }
}
