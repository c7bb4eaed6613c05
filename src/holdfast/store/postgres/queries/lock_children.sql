-- Lock the children that were just waited for, in the order of ids: none of them ends unseen before the commit.
-- Guard: unless the caller follows them, none of them has continued as another run: else it is an error.
-- Index: primary key. Returns: nothing of use.
select count(*), holdfast.refuse_continued(bool_or(locked.continued_as_id is not null) and not %(follows)s::boolean)
  from (select c.continued_as_id
          from holdfast.runs c
         where c.shard = %(shard)s::smallint and c.id = any(%(ids)s::uuid[])
         order by c.id
           for share of c) locked
