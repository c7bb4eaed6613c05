-- Record how far signals have come: a place, or null if they have arrived. One for all that is not kept is over then.
-- Guard: under way. Access: the primary key.
update holdfast_signals set passed = :passed,
    consumed_ms = iif(:passed is null and run_id is null and expires_ms is null, :now_ms, consumed_ms)
where shard = 0 and tenant = :tenant and id in (select value from json_each(:ids)) and passed is not null
