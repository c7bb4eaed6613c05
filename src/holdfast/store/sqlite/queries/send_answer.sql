-- Close an approval with a person's verdict. Names: who answers, as a JSON array of texts.
-- Guard: open, and one of the names may answer by now. Access: the primary key. Counts 1 if it was closed.
update holdfast_waits as w set outcome = 'answered', closed_ms = :now_ms, result = :verdict, answer_id = :id
where w.shard = 0 and w.run_id = :run_id and w.key = :key and w.kind = 'approval' and w.outcome is null
    and (
        coalesce(json_array_length(w.request, '$.by'), 0) = 0
        or exists (
            select 1 from json_each(w.request, '$.by') as a cross join json_each(:names) as n
            where a.value = n.value)
        or (
            w.opened_ms + (w.request ->> '$.escalate_after_ms') <= :now_ms
            and exists (
                select 1 from json_each(w.request, '$.escalate_to') as a cross join json_each(:names) as n
                where a.value = n.value)))
