-- Close what ended runs still waited for. Guard: open. Access: waits_open.
update waits indexed by waits_open set outcome = 'cancelled', closed_ms = :now_ms
where shard = 0 and run_id in (select value from json_each(:run_ids)) and outcome is null
