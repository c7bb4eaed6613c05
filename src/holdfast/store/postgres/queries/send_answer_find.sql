-- The approval that an answer is for, after its run was locked.
-- Index: primary key. Returns: its outcome, answer_id, opened_ms, request, the database's time; or no row.
select w.outcome, w.answer_id, w.opened_ms, w.request, holdfast.now_ms(%(now_ms)s)
  from holdfast.waits w
 where w.shard = %(shard)s::smallint and w.run_id = %(id)s::uuid and w.key = %(key)s and w.kind = 'approval'
