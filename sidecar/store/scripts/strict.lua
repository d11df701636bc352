-- strict: what a script call does first where the store is strict (P20): it finds out whether this is still the store that it
-- was, and if not, grants nothing until all leases of before have run out.
--
-- KEYS      behind all others, the marker
-- ARGV      behind all others: longest:8 isolation:8 replicas:4, the longest tenure that there may be and how long an isolated
--           primary may still take writes (us), and how many replicas it may have at most, or -1
-- The marker   'SM' version:1 replication:40 began:8 longest:8 isolation:8
-- Keeps     a restart and a promotion begin another replication, and what loses the data loses the marker: either begins a
--           quarantine, the first call ever too. Terms only widen. `began + 1.01 longest + isolation + 10 ms` is its end.
--
-- Counterpart of src/strict.rs. The files that follow ask `quarantine`, which is nil where the store is not strict.

local MARKER, MARKER_BYTES = '<c2I1c40I8I8I8', 67
local QUARANTINE_MARGIN = 10000
local QUARANTINED, FORGOTTEN = '\16', '\17'

local marker_key = table.remove(KEYS)
local longest, isolation, replicas_max = unpack_at('<I8I8i4', table.remove(ARGV))
local about = redis.call('INFO', 'replication')
local replication = about:match('master_replid:(%w+)')
local replicas = tonumber(about:match('connected_slaves:(%d+)'))

-- Replicas that writes do not wait for: one of them could take our place while another one kept us going.
if replicas_max >= 0 and replicas > replicas_max then
    return redis.error_reply('NOREPLICAS min-replicas-to-write is ' .. replicas_max .. ' and there are ' .. replicas
        .. ' replicas: strict needs the two to be equal')
end

local there, began = redis.call('GET', marker_key), now
if there and #there == MARKER_BYTES and there:sub(1, 3) == 'SM\1' then
    local _, _, of, since, its_longest, its_isolation = unpack_at(MARKER, there)
    longest, isolation = math.max(longest, its_longest), math.max(isolation, its_isolation)
    began = of == replication and since or now
end
local marker = pack(MARKER, 'SM', 1, replication, began, longest, isolation)
if marker ~= there then
    redis.call('SET', marker_key, marker)
end
local ends = began + longest + math.floor(longest / 100) + isolation + QUARANTINE_MARGIN
if now < ends then
    -- Before `extends` an isolated primary may still give away what runs out there: nothing is extended here.
    quarantine = { ends = ends, extends = began + isolation }
end

-- The answer to an ask that is in the queue, at this place, and would be granted or wait at any other time.
local function quarantined(place, left)
    return QUARANTINED .. pack('<I4I8', place - 1, math.max(0, left))
end

-- What is said instead of extending a tenure.
local function too_soon_to_extend()
    return now < quarantine.extends and quarantined(1, quarantine.extends - now)
end
