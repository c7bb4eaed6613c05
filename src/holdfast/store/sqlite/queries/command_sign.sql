-- Put into a run's last transition who commanded it, why, by which command, on which step and between which versions.
-- Access: the primary keys.
update holdfast_transitions set actor = :actor, note = :note, command_id = :command_id, key = :key, moved = :moved
where shard = 0 and run_id = :run_id and seq = (select transition_seq from holdfast_runs where shard = 0 and id = :run_id)
