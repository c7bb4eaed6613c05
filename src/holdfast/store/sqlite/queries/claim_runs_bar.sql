-- Take runs out of the line that claims read, until what bars them is over.
-- Guard: still claimable. Access: the primary key. Counts the runs.
update holdfast_runs set barred_by = :bar
where shard = 0 and id in (select value from json_each(:run_ids)) and ready_ms is not null
