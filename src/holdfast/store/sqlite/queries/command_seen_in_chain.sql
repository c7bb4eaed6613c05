-- Whether a link of a chain has obeyed this command before. Access: transitions_command, the primary key.
-- Returns: 0 or 1.
select exists (
    select 1 from holdfast_transitions as t indexed by holdfast_transitions_command
    cross join holdfast_runs as r on r.shard = 0 and r.id = t.run_id and r.chain_id = :chain_id
    where t.command_id = :command_id and t.command_id is not null)
