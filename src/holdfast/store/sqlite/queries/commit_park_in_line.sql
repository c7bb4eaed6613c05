-- Whether one of these runs, just parked, went into the line. Access: the primary key. Returns: 0 or 1.
select exists (
    select 1 from json_each(:run_ids) as b
    cross join holdfast_runs as r on r.shard = 0 and r.id = b.value and r.ready_ms is not null)
