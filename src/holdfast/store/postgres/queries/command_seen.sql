-- Whether a locked run has obeyed this command before, and the database's time.
-- Index: primary key. Returns: one row.
select holdfast.now_ms(%(now_ms)s) as now_ms,
       exists (select
                 from (select t.command_id
                         from holdfast.transitions t
                        where t.shard = %(shard)s::smallint and t.run_id = %(id)s::uuid
                        order by t.seq
                       offset 0) t
                where t.command_id = %(command_id)s::uuid) as seen
