-- turn: the operations of one turn of a sidecar, each on its own key, one after the other.
--
-- KEYS[i]   sl:<version>:<namespace>:{<escaped key>}:<space>, the record that operation i is about and all it touches,
--           but for a register's operations that are bound to a lease: behind the others stand, in the order of those
--           operations, the records of their locks, which are read
-- ARGV[i]   the operation: a verb byte and packed fields, see the file of the verb; tell: '\5' incarnation:16 seq:8
--           free_us:8, which is 0 or says when time brings a unit back; inquire: '\14' incarnation:16 seq:8 to:16 keys;
--           declare: '\15' incarnation:16 seq:8 from:16 stands
-- Returns   { now_us, answer 1, answer 2, … }: per operation a code byte and packed fields, or '\12' and what is wrong
--           with the record; in a cluster, behind them { inbox, message, inbox, message … }
-- Keeps     a record is read once and written once, last (P2); an operation that fails has written nothing and does
--           not disturb the others; pushes go out when everything is written (P21).
-- A push    kind:1 incarnation:16 seq:8 [ free_us:8, of a busy one ] [ from:16, of a declared one ] [ length:2 keys or
--           stands, of an inquired and a declared one ] space:1 (its first letter) escaped key
--
-- One call for many operations because a call costs more than what is in it. Measured on 7.0.15, server time of a cycle
-- of ask and return on a free key: 17 us in calls of one, 8 us in calls of eight, 6.5 us in calls of 32; SET NX PX and a
-- compare-and-delete script, 3.2 us. In Redis Cluster, where a call must stay in one slot, a call has one key.

local ASK, RENEW, GIVE_BACK, TELL, READ, WRITE, INQUIRE = 1, 2, 3, 5, 7, 8, 14
local verbs, register_verbs
-- Locks that bound operations before this one had.
local locks = 0

local function short_way(verb, raw, arg)
    if not raw then
        return verb == ASK and ask_unknown(arg)
    end
    if #raw < HEADER_BYTES or raw:sub(1, 3) ~= 'SL\1' then
        return
    end
    local _, _, next_due, last, limit, tenures, queue, offers, done = unpack_at(HEADER, raw)
    if #raw ~= HEADER_BYTES + tenures * TENURE_BYTES + queue * ENTRY_BYTES + done * DONE_BYTES or now >= next_due then
        return
    end
    if verb == GIVE_BACK then
        return tenures == 1 and queue == 0 and done <= 1 and give_back_single(raw, arg, last, done)
    elseif verb == RENEW then
        return queue == 0 and renew_in_place(raw, arg, next_due, last, limit, tenures, done)
    elseif verb == ASK then
        return queue > 0 and offers == 0 and ask_in_place(raw, arg, next_due, last, limit, tenures, queue, done)
    end
end

-- Whether it is a register's operation that looks at the lock's record too.
local function is_bound(arg)
    local verb = arg:byte(1)
    return verb == READ and arg:byte(READ_BOUND_AT) == 1 or verb == WRITE and arg:byte(WRITE_BOUND_AT) == 1
end

-- One sidecar tells another something; no record is read.
local function tell(verb, arg)
    local inc, seq = unpack_at('<c16I8', arg, 2)
    if verb == TELL then
        wake(inc, BUSY, inc, seq)
        wakes[#wakes].more = arg:sub(26, 33)
        return TOLD
    end
    local other, more = arg:sub(26, 41), pack('<I2', #arg - 41) .. arg:sub(42)
    if verb == INQUIRE then
        wake(other, INQUIRED, inc, seq)
        wakes[#wakes].more = more
    else
        wake(inc, DECLARED, inc, seq)
        wakes[#wakes].more = other .. more
    end
    return TOLD
end

local function step(arg)
    local verb = arg:byte(1)
    if verb == TELL or verb >= INQUIRE then
        return tell(verb, arg)
    end
    local raw = redis.call('GET', key)
    if verb == READ or verb == WRITE then
        local written = verb == WRITE and raw and write_over(raw, arg)
        if written then
            return written
        end
        register_verbs = register_verbs or registers()
        local answer, register = register_verbs[verb](raw, arg, KEYS[#ARGV + locks])
        if register then
            register_verbs.store(register)
        end
        return answer
    end
    local answer, record = not quarantine and short_way(verb, raw, arg)
    if not answer then
        verbs = verbs or rules()
        answer, record = verbs[verb](raw, arg)
    end
    if record then
        verbs.store(record)
    end
    return answer
end

local answers, pushes = { now }, {}
for i = 1, #ARGV do
    key = KEYS[i]
    if is_bound(ARGV[i]) then
        locks = locks + 1
    end
    local ok, answer = pcall(step, ARGV[i])
    if not ok then
        -- What `decode` found, or what Redis or Lua said.
        answer = FAULT .. tostring(type(answer) == 'table' and (answer[1] or answer.err) or answer)
    end
    answers[i + 1] = answer
    if #wakes > 0 then
        for _, w in ipairs(ok and wakes or {}) do
            pushes[#pushes + 1] = w
        end
        wakes = {}
    end
end

-- An inbox and what is for it, one after the other. What becomes of them stands in publish.lua and hand_over.lua.
local messages = {}
for _, w in ipairs(pushes) do
    local prefix, escaped, space = w.key:match('^(.-){(.*)}:(.)')
    messages[#messages + 1] = prefix .. 'inbox:' .. (('%02x'):rep(16)):format(w.to:byte(1, 16))
    messages[#messages + 1] = pack('<I1c16I8', w.kind, w.inc, w.seq) .. (w.more or '') .. space .. escaped
end
