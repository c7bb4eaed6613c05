-- Whether a link of a chain, of which one is locked, has obeyed this command before, and the database's time.
-- Index: transitions_command, primary key. Returns: one row.
select holdfast.now_ms(%(now_ms)s) as now_ms,
       exists (select
                 from holdfast.transitions t
                cross join lateral (
                      select r.chain_id
                        from holdfast.runs r
                       where r.shard = %(shard)s::smallint and r.id = t.run_id
                       limit 1) l
                where t.shard = %(shard)s::smallint and t.command_id = %(command_id)s::uuid
                  and l.chain_id = %(chain_id)s::uuid) as seen
