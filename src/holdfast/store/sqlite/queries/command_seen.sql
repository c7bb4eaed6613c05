-- Whether a run has obeyed this command before. Access: the primary key. Returns: 0 or 1.
select exists (
    select 1 from holdfast_transitions as t where t.shard = 0 and t.run_id = :run_id and t.command_id = :command_id)
