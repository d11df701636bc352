//! The scripts, put together from their files.
//!
//! Owns which files make a script and under which flags Redis runs it. Must not know when they are called.

/// One program under two flags.
macro_rules! program {
    ($shebang:literal, $end:literal) => {
        concat!(
            $shebang,
            "\n",
            include_str!("../../scripts/format.lua"),
            include_str!("../../scripts/register_short.lua"),
            // A function, so that its closures are only made where the short ways do not do.
            "\nlocal function rules()\n",
            include_str!("../../scripts/once.lua"),
            include_str!("../../scripts/record.lua"),
            include_str!("../../scripts/ask.lua"),
            include_str!("../../scripts/renew.lua"),
            include_str!("../../scripts/give_back.lua"),
            include_str!("../../scripts/withdraw.lua"),
            include_str!("../../scripts/finish.lua"),
            include_str!("../../scripts/board.lua"),
            include_str!("../../scripts/peek.lua"),
            include_str!("../../scripts/force.lua"),
            "\nreturn { ask, renew, give_back, withdraw, [6] = finish, [10] = publish, [11] = read_board, [12] = peek, [13] = force, store = store }\nend\n",
            // Another, for calls with registers.
            "\nlocal function registers()\n",
            include_str!("../../scripts/register.lua"),
            "\nreturn { [7] = read, [8] = write, store = store }\nend\n",
            include_str!("../../scripts/turn.lua"),
            include_str!($end),
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

/// The two programs of a server: with an ask among the calls, and without one.
pub(super) fn programs(sharded: bool) -> [&'static str; 2] {
    match sharded {
        true => [NODE_TURN, NODE_TURN_UNDER_OOM],
        false => [TURN, TURN_UNDER_OOM],
    }
}
