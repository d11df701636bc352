-- register: read a value, write it, delete it (P17).
--
-- Counterpart of src/register.rs, function by function and name by name: change both or none. The body of a function, as the
-- rules of locks are; it is only called where a call has a register's operation in it.
--
-- Argument  '\7' known:1 number:8 incarnation:16 seq:8 watch:1 watcher:16 ttl:8 bound           read; times in us
--             known: 0 nothing, 1 absent, 2 this version
--           '\8' incarnation:16 seq:8 refuse_after:8 condition:1 number:8 incarnation:16 seq:8 bound put:1 value   write
--             condition: 0 any, 1 absent, 2 present, 3 this version; put: 0 deletes
--           bound  0  |  1 incarnation:16 seq:8 fence:8: under this lease of the lock with the same text
-- Answers   register number:8 incarnation:16 seq:8 value | absent | unchanged | written number:8 incarnation:16 seq:8
--           | conflict [ number:8 incarnation:16 seq:8 value ] | stale_fence | stale | too_late
-- Keeps     a write runs once, however often and late its copies arrive (P7); nobody reads or writes under a lease whose
--           tenure does not stand, or after one with a greater fence; versions rise.
--
-- Format 1, little endian:
--   'SR' version:1  number:8 incarnation:16 seq:8  repeats_due:8 fence_seen:8 due:8 present:1  done:4 watchers:4
--   done     x [ number:8 incarnation:16 seq:8 due:8 ]
--   watchers x [ incarnation:16 due:8 ]
--   value, where `present`; else the register is forgotten at `due`

local WRITTEN_BEFORE, WATCHER = '<I8c16I8I8', '<c16I8'
local ETAG = '<I8c16I8'
local ABSENT_TTL = 10000000
local NOBODY = ('\0'):rep(16)

local function decode(raw)
    if not raw then
        return { number = 0, inc = NOBODY, seq = 0, repeats = 0, seen = 0, due = 0, done = {}, watchers = {} }
    end
    if #raw < REGISTER_BYTES or raw:sub(1, 2) ~= 'SR' then
        error({ 'corrupt: it does not begin like a register' })
    end
    local _, version, number, inc, seq, repeats, seen, due, present, done, watchers, at = unpack_at(REGISTER, raw)
    if version > 1 then
        error({ 'record_too_new: it has format ' .. version .. ', this version reads up to 1' })
    end
    local value_at = REGISTER_BYTES + 1 + done * WRITTEN_BEFORE_BYTES + watchers * WATCHER_BYTES
    if version < 1 or present > 1 or value_at > #raw + 1 or present == 0 and value_at ~= #raw + 1 then
        error({ 'corrupt: its length does not match what it says it contains' })
    end
    if present == 0 and due <= now then
        return decode(nil)
    end
    local register = { number = number, inc = inc, seq = seq, repeats = repeats, seen = seen, due = due,
        value = present == 1 and raw:sub(value_at) or nil, done = {}, watchers = {} }
    for _ = 1, done do
        local d_number, d_inc, d_seq, d_due, following = unpack_at(WRITTEN_BEFORE, raw, at)
        if d_due >= now then
            register.done[#register.done + 1] = { number = d_number, inc = d_inc, seq = d_seq, due = d_due }
        end
        at = following
    end
    for _ = 1, watchers do
        local w_inc, w_due, following = unpack_at(WATCHER, raw, at)
        if w_due > now then
            register.watchers[#register.watchers + 1] = { inc = w_inc, due = w_due }
        end
        at = following
    end
    return register
end

-- The step's one write, and its last act.
local function store(register)
    local parts = { pack(REGISTER, 'SR', 1, register.number, register.inc, register.seq, register.repeats, register.seen,
        register.due, register.value and 1 or 0, #register.done, #register.watchers) }
    for _, d in ipairs(register.done) do
        parts[#parts + 1] = pack(WRITTEN_BEFORE, d.number, d.inc, d.seq, d.due)
    end
    for _, w in ipairs(register.watchers) do
        parts[#parts + 1] = pack(WATCHER, w.inc, w.due)
    end
    parts[#parts + 1] = register.value
    if register.value then
        redis.call('SET', key, table.concat(parts))
    else
        redis.call('SET', key, table.concat(parts), 'PX', math.max(1, math.ceil((register.due - now) / 1000)))
    end
end

-- Without a value it is remembered until then at least.
local function stay(register, due)
    if not register.value then
        register.due = math.max(register.due, due)
    end
end

-- Whether the lock's record has this tenure, with fences up to this one.
local function stands(lock_key, id, fence)
    local raw = redis.call('GET', lock_key)
    if not raw or #raw < HEADER_BYTES or raw:sub(1, 2) ~= 'SL' then
        return false
    end
    local _, version, _, _, _, tenures = unpack_at(HEADER, raw)
    if version > VERSION then
        return false
    end
    local at = place(raw, id, HEADER_BYTES + 1, TENURE_BYTES, tenures)
    if not at then
        return false
    end
    local _, _, _, due, _, last = unpack_at(TENURE, raw, at)
    return due > now and fence <= last
end

-- Whether the lease that the operation is bound to stands, where its argument begins at `at`; if so, no earlier one gets in
-- after it. The second result: where the next field begins.
local function enters(register, arg, at, lock_key)
    if arg:byte(at) == 0 then
        return true, at + 1
    end
    local id, fence = arg:sub(at + 1, at + 24), unpack_at('<I8', arg, at + 25)
    if not stands(lock_key, id, fence) or fence < register.seen then
        return false, at + 33
    end
    if fence > register.seen then
        register.seen, register.changed = fence, true
        stay(register, now + ABSENT_TTL)
    end
    return true, at + 33
end

-- Enters a watcher, or refreshes it once half of its time is over: a refresh costs a write.
local function watch(register, inc, ttl)
    local watcher
    for _, w in ipairs(register.watchers) do
        watcher = w.inc == inc and w or watcher
    end
    if watcher and watcher.due >= now + math.floor(ttl / 2) then
        return
    end
    if not watcher then
        watcher = { inc = inc }
        register.watchers[#register.watchers + 1] = watcher
    end
    watcher.due, register.changed = now + ttl, true
    stay(register, now + ttl)
end

local function version(register)
    return register.value and pack(ETAG, register.number, register.inc, register.seq) .. register.value or ''
end

local function value_answer(register)
    return register.value and REGISTER_VALUE .. version(register) or REGISTER_ABSENT
end

-- Whether this version is what is there.
local function is_current(register, number, inc, seq)
    return register.value and register.number == number and register.inc == inc and register.seq == seq
end

local function read(raw, arg, lock_key)
    local known, number, inc, seq, watched, watcher, ttl, at = unpack_at('<I1I8c16I8I1c16I8', arg, 2)
    local register = decode(raw)
    if not enters(register, arg, at, lock_key) then
        return STALE_FENCE
    end
    if watched == 1 then
        watch(register, watcher, ttl)
    end
    local answer = value_answer(register)
    if known == 1 and not register.value or known == 2 and is_current(register, number, inc, seq) then
        answer = UNCHANGED
    end
    return answer, register.changed and register
end

-- The answer to a write that was done before, or that a later one of its incarnation followed (P7).
local function repeated(register, inc, seq)
    local mine = register.inc == inc and register
    for _, d in ipairs(register.done) do
        if d.inc == inc and (not mine or d.number > mine.number) then
            mine = d
        end
    end
    if not mine or mine.seq < seq then
        return
    end
    return mine.seq == seq and WRITTEN .. pack(ETAG, mine.number, mine.inc, mine.seq) or STALE
end

local function drop_done(register, inc)
    for i = #register.done, 1, -1 do
        if register.done[i].inc == inc then
            table.remove(register.done, i)
        end
    end
end

local function put(register, me, seq, refuse_after, value)
    drop_done(register, me)
    if register.number > 0 and register.inc ~= me and register.repeats >= now then
        drop_done(register, register.inc)
        register.done[#register.done + 1] =
            { number = register.number, inc = register.inc, seq = register.seq, due = register.repeats }
    end
    register.number = math.max(now, register.number + 1)
    register.inc, register.seq, register.repeats, register.value, register.due = me, seq, refuse_after, value, 0
    local due = now + ABSENT_TTL
    for _, w in ipairs(register.watchers) do
        due = math.max(due, w.due)
        if w.inc ~= me then
            wake(w.inc, CHANGED, me, seq)
        end
    end
    stay(register, due)
    return WRITTEN .. pack(ETAG, register.number, me, seq), register
end

local function write(raw, arg, lock_key)
    local me, seq, refuse_after, condition, number, inc, its_seq, at = unpack_at('<c16I8I8I1I8c16I8', arg, 2)
    local register = decode(raw)
    local before = repeated(register, me, seq)
    if before or now > refuse_after then
        return before or TOO_LATE
    end
    local entered, following = enters(register, arg, at, lock_key)
    if not entered then
        return STALE_FENCE
    end
    if condition == 1 and register.value or condition == 2 and not register.value
        or condition == 3 and not is_current(register, number, inc, its_seq) then
        return CONFLICT .. version(register), register.changed and register
    end
    local value = arg:byte(following) == 1 and arg:sub(following + 1) or nil
    if not value and not register.value then
        return REGISTER_ABSENT, register.changed and register
    end
    return put(register, me, seq, refuse_after, value)
end
