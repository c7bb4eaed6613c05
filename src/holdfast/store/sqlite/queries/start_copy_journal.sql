-- Copy outcomes of one run to another, some with another result. Access: the primary keys.
insert into holdfast_journal (shard, run_id, key, seq, kind, name, status, result, error, fingerprint, input, attempts, epoch,
    started_ms, completed_ms, settled_by)
select 0, :id, j.key, j.seq, j.kind, j.name, j.status, coalesce(r.value, j.result), j.error,
    iif(:changed, '', j.fingerprint), j.input, j.attempts, 0, j.started_ms, j.completed_ms,
    iif(r.key is null, j.settled_by, :actor)
from json_each(:keys) as k
cross join holdfast_journal as j on j.shard = 0 and j.run_id = :source_id and j.key = k.value
left join json_each(:replaced) as r on r.key = j.key
