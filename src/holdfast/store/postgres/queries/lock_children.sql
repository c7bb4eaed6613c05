-- Lock the children that were just waited for, in the order of ids: none of them ends unseen before the commit.
-- Guard: unless the caller follows them, none of them has continued as another run: else it is an error.
-- Index: primary key. Returns: nothing of use.
select count(*), holdfast.refuse_continued(bool_or(locked.continued_as_id is not null) and not %(follows)s::boolean)
  from (select c.continued_as_id
          from (select d.id from unnest(%(ids)s::uuid[]) as d (id) order by d.id) ordered
         cross join lateral (
               select o.continued_as_id
                 from holdfast.runs o
                where o.shard = %(shard)s::smallint and o.id = ordered.id
                  for share of o) c
        offset 0) locked
