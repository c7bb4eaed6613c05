-- Close the due waits of these runs. Guard: open and due. Access: waits_open.
update holdfast_waits indexed by holdfast_waits_open set outcome = 'elapsed', closed_ms = :now_ms
where shard = 0 and run_id in (select value from json_each(:run_ids)) and outcome is null and due_ms <= :now_ms
