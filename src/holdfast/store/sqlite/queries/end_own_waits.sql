-- Close what ended runs still waited for; one that was set aside keeps its waits open: it may be released.
-- Guard: open, the run not set aside. Access: waits_open, the primary key.
update holdfast_waits indexed by holdfast_waits_open set outcome = 'cancelled', closed_ms = :now_ms
where shard = 0 and outcome is null and run_id in (
    select r.id from json_each(:run_ids) as b
    cross join holdfast_runs as r on r.shard = 0 and r.id = b.value and r.status <> 'stuck')
