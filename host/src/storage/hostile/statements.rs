//! Group, what it comes to, statements, one in a line. What it comes to is a code (several: any of them), `lost` behind it
//! where SQLite drops the turn, or `ok` for what looks bad and is harmless.

pub(super) const GROUPS: &[(&str, &str, &str)] = &[
    (
        "other databases and files",
        "denied",
        r#"
        ATTACH 'other.db' AS other
        ATTACH ':memory:' AS other
        ATTACH '' AS other
        ATTACH 'file:/etc/passwd?mode=ro' AS other
        ATTACH DATABASE (SELECT 'x.db') AS other
        AtTaCh 'other.db' AS main
        DETACH main
        DETACH temp
        VACUUM
        VACUUM main
        /* x */ VaCuUm INTO '/tmp/stolen.db'
        SELECT 1; VACUUM INTO 'stolen.db'
        EXPLAIN ATTACH 'x' AS y
        CREATE VIRTUAL TABLE x USING csv(filename='/etc/passwd')
        PRAGMA temp_store_directory = '/'
        PRAGMA data_store_directory = '/'
        PRAGMA database_list
        SELECT * FROM pragma_database_list
        SELECT file FROM pragma_database_list WHERE name = 'main'
        "#,
    ),
    (
        "functions that reach out",
        "sql | denied",
        r#"
        SELECT load_extension('x')
        SELECT load_extension('x', 'y')
        SELECT readfile('/etc/passwd')
        SELECT writefile('stolen', 'x')
        SELECT edit('x')
        SELECT fsdir('/')
        SELECT * FROM fsdir('/')
        SELECT lsmode(1)
        SELECT fts3_tokenizer('simple')
        SELECT fts3_tokenizer('simple', x'0000000000000000')
        SELECT sqlite_offset(1)
        SELECT sqlite_compileoption_get(1)
        SELECT sqlite_compileoption_used('THREADSAFE')
        SELECT sqlite_source_id()
        SELECT sqlite_log(1, 'x')
        SELECT sqlite_rename_table(1, 2, 3, 4, 5, 6, 7)
        SELECT sqlite_rename_column(1, 2, 3, 4, 5, 6, 7, 8, 9)
        SELECT sqlite_drop_column(0, 'x', 0)
        SELECT sqlite_rename_quotefix('main', 'x')
        SELECT sqlite_fail('x')
        SELECT fts5(1)
        SELECT fts5(NULL)
        SELECT fts5_decode(1, 2)
        SELECT fts5_expr('a')
        SELECT fts5_source_id()
        SELECT rtreenode(2, x'00')
        SELECT rtreedepth(x'00')
        SELECT geopoly_area('[]')
        SELECT matchinfo(f) FROM f
        SELECT offsets(f) FROM f
        SELECT optimize(f) FROM f
        SELECT dbdata(1)
        SELECT eval('DROP TABLE t')
        SELECT shell('id')
        SELECT zipfile('x')
        SELECT sha3('x')
        SELECT regexp('(a+)+$', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaab')
        SELECT 'a' REGEXP 'b'
        "#,
    ),
    (
        "tables of forbidden modules",
        "denied | sql",
        r#"
        CREATE VIRTUAL TABLE x USING fts3(a)
        CREATE VIRTUAL TABLE x USING fts4(a)
        CREATE VIRTUAL TABLE x USING fts4aux(f)
        CREATE VIRTUAL TABLE x USING fts3tokenize('simple')
        CREATE VIRTUAL TABLE x USING dbstat
        CREATE VIRTUAL TABLE x USING dbstat(main)
        CREATE VIRTUAL TABLE x USING sqlite_dbpage
        CREATE VIRTUAL TABLE x USING sqlite_stmt
        CREATE VIRTUAL TABLE x USING bytecode
        CREATE VIRTUAL TABLE x USING generate_series
        CREATE VIRTUAL TABLE x USING geopoly(a)
        CREATE VIRTUAL TABLE x USING json_each
        CREATE VIRTUAL TABLE x USING pragma_table_info
        CREATE VIRTUAL TABLE x USING "FTS4"(a)
        CREATE VIRTUAL TABLE IF NOT EXISTS x USING zipfile('/etc')
        SELECT * FROM dbstat
        SELECT * FROM dbstat('main', 1)
        SELECT * FROM sqlite_dbpage
        SELECT data FROM sqlite_dbpage('main') WHERE pgno = 1
        UPDATE sqlite_dbpage SET data = zeroblob(4096) WHERE pgno = 1
        SELECT * FROM sqlite_stmt
        SELECT * FROM bytecode('SELECT 1')
        SELECT * FROM tables_used('SELECT * FROM t')
        SELECT * FROM generate_series(1, 1000000000)
        SELECT * FROM completion('se')
        SELECT * FROM fts3tokenize
        SELECT * FROM carray(0, 100)
        "#,
    ),
    (
        "the host's tables, by every name",
        "denied",
        r#"
        SELECT * FROM _facetd_kv
        SELECT * FROM main._FACETD_meta
        SELECT * FROM "_facetd_kv"
        SELECT * FROM '_facetd_kv'
        SELECT count(*) FROM [_Facetd_KV]
        SELECT 1 FROM `_facetd_kv`
        SELECT rowid FROM _facetd_meta
        SELECT (SELECT path FROM _facetd_meta)
        SELECT EXISTS(SELECT 1 FROM _facetd_kv)
        SELECT 1 WHERE 'a' IN _facetd_kv
        SELECT * FROM t, _facetd_kv
        SELECT * FROM t LEFT JOIN _facetd_meta ON a = one
        WITH x AS (SELECT * FROM _facetd_kv) SELECT 1 FROM x
        WITH x AS MATERIALIZED (SELECT * FROM _facetd_kv) SELECT count(*) FROM x
        SELECT sum((SELECT count(*) FROM _facetd_kv)) OVER () FROM t
        SELECT * FROM t ORDER BY (SELECT value FROM _facetd_kv)
        VALUES((SELECT value FROM _facetd_kv))
        INSERT INTO _facetd_kv VALUES('a', 'b')
        INSERT INTO t SELECT value FROM _facetd_kv
        INSERT INTO t VALUES(1) RETURNING (SELECT value FROM _facetd_kv)
        INSERT INTO big VALUES(1, 2) ON CONFLICT(a) DO UPDATE SET b = (SELECT value FROM _facetd_kv)
        REPLACE INTO _facetd_meta VALUES(1, 1, x'00', 1, '')
        UPDATE _facetd_meta SET path = ''
        UPDATE t SET a = (SELECT path FROM _facetd_meta)
        UPDATE t SET a = value FROM _facetd_kv
        DELETE FROM _facetd_kv
        DELETE FROM t WHERE a = (SELECT key FROM _facetd_kv)
        DROP TABLE _facetd_kv
        DROP TABLE IF EXISTS "_FACETD_kv"
        ALTER TABLE _facetd_kv RENAME TO mine
        ALTER TABLE _facetd_kv ADD COLUMN x
        ALTER TABLE _facetd_kv RENAME COLUMN value TO v
        ALTER TABLE _facetd_kv DROP COLUMN value
        ALTER TABLE t RENAME TO _facetd_t
        ALTER TABLE t RENAME TO _FaCeTd
        ALTER TABLE t RENAME TO "_facetd"
        ALTER TABLE f RENAME TO _facetd_f
        ALTER TABLE r RENAME TO _facetd_r
        CREATE TABLE _facetd_x(a)
        CREATE TABLE _FACETD(a)
        CREATE TABLE main."_facetd y"(a)
        CREATE TABLE x AS SELECT * FROM _facetd_kv
        CREATE VIEW _facetd_v AS SELECT 1
        CREATE VIEW w AS SELECT * FROM _facetd_kv; SELECT * FROM w
        CREATE VIEW w AS SELECT (SELECT value FROM _facetd_kv) AS x; SELECT x FROM w
        CREATE INDEX i ON _facetd_kv(value)
        CREATE INDEX _facetd_i ON t(a)
        CREATE UNIQUE INDEX "_FACETD_i" ON t(a)
        REINDEX _facetd_kv; SELECT * FROM _facetd_kv
        CREATE TRIGGER tr AFTER INSERT ON _facetd_kv BEGIN SELECT 1; END
        CREATE TRIGGER _facetd_tr AFTER INSERT ON t BEGIN SELECT 1; END
        CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM _facetd_kv; END; INSERT INTO t VALUES(1)
        CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO child SELECT value FROM _facetd_kv; END; INSERT INTO t VALUES(1)
        CREATE TRIGGER tr INSTEAD OF INSERT ON v BEGIN UPDATE _facetd_kv SET value = ''; END; INSERT INTO v VALUES(1)
        CREATE TABLE x(k REFERENCES _facetd_kv(key)); INSERT INTO x VALUES('a')
        CREATE TABLE x(k REFERENCES _facetd_kv ON UPDATE CASCADE); UPDATE x SET k = 1; INSERT INTO x VALUES('key')
        CREATE VIRTUAL TABLE _facetd_f USING fts5(a)
        CREATE VIRTUAL TABLE "_Facetd" USING rtree(a, b, c)
        CREATE VIRTUAL TABLE spy USING fts5(path, content='_facetd_meta'); SELECT * FROM spy
        CREATE VIRTUAL TABLE spy USING fts5(value, content=_facetd_kv, content_rowid=key); SELECT * FROM spy
        CREATE VIRTUAL TABLE spy USING fts5(path, content='_facetd_meta'); INSERT INTO spy(spy) VALUES('rebuild')
        SELECT * FROM pragma_table_info('_facetd_kv')
        SELECT * FROM pragma_table_xinfo('_Facetd_kv')
        SELECT * FROM pragma_index_list('_facetd_meta')
        SELECT m.name, p.* FROM sqlite_schema m, pragma_table_info(m.name) p
        SELECT p.* FROM pragma_table_list l, pragma_index_list(l.name) p
        PRAGMA table_info(_facetd_kv)
        PRAGMA table_info("_facetd_kv")
        PRAGMA table_xinfo='_facetd_kv'
        PRAGMA index_list('_FACETD_kv')
        PRAGMA index_info(_facetd_kv)
        PRAGMA foreign_key_list(_facetd_kv)
        PRAGMA quick_check(_facetd_kv)
        PRAGMA foreign_key_check(_facetd_kv)
        PRAGMA foreign_keys(_facetd_kv)
        EXPLAIN SELECT * FROM _facetd_kv
        EXPLAIN QUERY PLAN SELECT * FROM _facetd_kv
        "#,
    ),
    (
        "the host's tables, through what others make of names",
        "denied | sql",
        r#"
        CREATE VIRTUAL TABLE spy USING fts5vocab(_facetd_kv, row); SELECT * FROM spy
        CREATE VIRTUAL TABLE spy USING fts5vocab('main', '_facetd_kv', 'row'); SELECT * FROM spy
        CREATE VIRTUAL TABLE spy USING fts5vocab('temp', 'f', 'row'); SELECT * FROM spy
        CREATE VIRTUAL TABLE spy USING fts5(a, content='f_data'); SELECT * FROM spy; SELECT * FROM _facetd_kv
        SELECT rtreecheck('_facetd_kv')
        SELECT rtreecheck('main', '_facetd_kv')
        SELECT rtreecheck('_facetd_kv''; DROP TABLE t; --')
        SELECT rtreecheck('x"; ATTACH ''y'' AS z; --')
        CREATE VIRTUAL TABLE x USING fts5(a, content='t''; DROP TABLE t; --'); SELECT * FROM x
        CREATE VIRTUAL TABLE x USING fts5(a, content='t', content_rowid='a FROM _facetd_kv --'); SELECT * FROM x
        "#,
    ),
    (
        "the schema itself",
        "sql | denied",
        r#"
        UPDATE sqlite_schema SET sql = ''
        UPDATE sqlite_master SET rootpage = 2
        DELETE FROM sqlite_master WHERE name = '_facetd_kv'
        INSERT INTO sqlite_schema VALUES('table', 'x', 'x', 2, 'CREATE TABLE x(a)')
        REPLACE INTO "sqlite_master" VALUES('view', 'x', 'x', 0, '')
        DROP TABLE sqlite_schema
        DROP TABLE sqlite_sequence
        ALTER TABLE sqlite_schema RENAME TO x
        ALTER TABLE sqlite_schema ADD COLUMN x
        CREATE TABLE sqlite_x(a)
        CREATE TABLE "SQLITE_y"(a)
        CREATE INDEX sqlite_i ON t(a)
        CREATE VIEW sqlite_v AS SELECT 1
        CREATE TRIGGER tr AFTER INSERT ON sqlite_schema BEGIN SELECT 1; END
        CREATE INDEX i ON sqlite_schema(name)
        CREATE VIRTUAL TABLE sqlite_f USING fts5(a)
        UPDATE sqlite_temp_master SET sql = ''
        PRAGMA writable_schema = ON
        PRAGMA writable_schema(1)
        PRAGMA WRITABLE_SCHEMA = RESET
        SELECT * FROM pragma_writable_schema
        PRAGMA schema_version = 1
        PRAGMA schema_version
        INSERT INTO f_data VALUES(1, x'00')
        DELETE FROM f_config
        UPDATE r_node SET data = x'00'
        DROP TABLE f_data
        ALTER TABLE f_content RENAME TO x
        CREATE TRIGGER tr AFTER INSERT ON f_content BEGIN SELECT 1; END
        "#,
    ),
    (
        "pragmas",
        "denied",
        r#"
        PRAGMA journal_mode = DELETE
        PRAGMA journal_mode
        PRAGMA main.journal_mode = OFF
        PRAGMA synchronous = OFF
        PRAGMA locking_mode = NORMAL
        PRAGMA wal_checkpoint
        PRAGMA wal_checkpoint(TRUNCATE)
        PRAGMA wal_autocheckpoint = 1
        PRAGMA journal_size_limit = 0
        PRAGMA max_page_count = 1000000000
        PRAGMA main.max_page_count = 1000000000
        PRAGMA page_size = 512
        PRAGMA cache_size = 1000000
        PRAGMA default_cache_size = 1000000
        PRAGMA cache_spill = 0
        PRAGMA mmap_size = 1000000000
        PRAGMA temp_store = MEMORY
        PRAGMA trusted_schema = ON
        PRAGMA cell_size_check = OFF
        PRAGMA checkpoint_fullfsync = 1
        PRAGMA user_version = 'x'
        PRAGMA case_sensitive_like = ON
        PRAGMA application_id = 3
        PRAGMA auto_vacuum = FULL
        PRAGMA incremental_vacuum
        PRAGMA hard_heap_limit = 1
        PRAGMA soft_heap_limit = 1
        PRAGMA threads = 8
        PRAGMA analysis_limit = 1
        PRAGMA automatic_index = 0
        PRAGMA busy_timeout = 100000
        PRAGMA encoding = 'UTF-16'
        PRAGMA integrity_check
        PRAGMA secure_delete = ON
        PRAGMA query_only = ON
        PRAGMA read_uncommitted = 1
        PRAGMA shrink_memory
        PRAGMA stats
        PRAGMA function_list
        PRAGMA module_list
        PRAGMA pragma_list
        PRAGMA compile_options
        PRAGMA collation_list
        PRAGMA lock_status
        PRAGMA vdbe_trace = ON
        PRAGMA parser_trace = ON
        PRAGMA count_changes = 1
        PRAGMA full_column_names = 1
        PRAGMA short_column_names = 0
        PRAGMA empty_result_callbacks = 1
        PRAGMA key = 'x'
        PRAGMA activate_extensions = 'x'
        SELECT * FROM pragma_page_count
        SELECT * FROM pragma_function_list
        PRAGMA foreign_keys = 'on; DROP TABLE t'
        PRAGMA optimize(-1); PRAGMA optimize('x')
        "#,
    ),
    (
        "the end of the turn",
        "denied",
        r#"
        BEGIN
        BEGIN IMMEDIATE
        BEGIN EXCLUSIVE TRANSACTION
        COMMIT
        END
        ROLLBACK
        SAVEPOINT x
        SAVEPOINT _facetd_write
        RELEASE _facetd_write
        RELEASE _facetd_transaction
        ROLLBACK TO _facetd_write
        ROLLBACK TRANSACTION TO SAVEPOINT _facetd_transaction
        CREATE TABLE one(a); COMMIT
        COMMIT; COMMIT; COMMIT
        EXPLAIN COMMIT
        /**/ rollback;
        "#,
    ),
    (
        "the end of the turn, as a conflict",
        "constraint lost",
        r#"
        CREATE TABLE x(a UNIQUE ON CONFLICT ROLLBACK); INSERT INTO x VALUES(1), (1)
        CREATE UNIQUE INDEX u ON t(a); INSERT OR ROLLBACK INTO t VALUES(1)
        CREATE TRIGGER tr BEFORE INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'x'); END; INSERT INTO t VALUES(1)
        "#,
    ),
    (
        "temporary things",
        "denied | sql",
        r#"
        CREATE TEMP TABLE x(a)
        CREATE TEMPORARY TABLE x AS SELECT 1
        CREATE TABLE temp.x(a)
        CREATE TEMP VIEW x AS SELECT 1
        CREATE VIEW temp.x AS SELECT * FROM t
        CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END
        CREATE INDEX temp.i ON t(a)
        CREATE VIRTUAL TABLE temp.x USING fts5(a)
        SELECT * FROM temp.t
        INSERT INTO temp.t VALUES(1)
        DROP TABLE temp.t
        DROP VIEW temp.v
        INSERT INTO sqlite_temp_schema VALUES(1, 2, 3, 4, 5)
        ALTER TABLE temp.t RENAME TO u
        "#,
    ),
    (
        "without an end, reading",
        "cpu",
        r#"
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n
        WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n) SELECT count(*) FROM n
        WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i FROM n) SELECT i FROM n WHERE i = 2
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n ORDER BY 1 DESC) SELECT max(i) FROM n
        WITH RECURSIVE a(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM a), b AS (SELECT i FROM a WHERE i < 0) SELECT * FROM b
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n GROUP BY i
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(DISTINCT i) FROM n
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT -i FROM n) SELECT group_concat(i, '') FROM n WHERE i = 0
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n ORDER BY random()
        SELECT count(*) FROM big a, big b, big c, big d
        SELECT sum(a.b * b.b * c.b) FROM big a, big b, big c
        SELECT count(*) FROM big a JOIN big b ON a.b < b.b JOIN big c ON c.b > b.b JOIN big d
        SELECT max((SELECT count(*) FROM big c, big d WHERE c.b = a.b)) FROM big a, big b
        SELECT count(*) FROM big a LEFT JOIN big b ON a.a <> b.a FULL JOIN big c ON c.a <> b.a
        SELECT DISTINCT a.a + b.a + c.a - c.a FROM big a, big b, big c ORDER BY 1 LIMIT -1 OFFSET 1000000
        SELECT 1 FROM big a, big b, big c GROUP BY a.b, b.a, c.b HAVING count(*) < 0
        SELECT count(*) FROM big a, big b, big c UNION SELECT 1
        SELECT a.a FROM big a, big b, big c EXCEPT SELECT a FROM big
        SELECT sum(x) OVER (ORDER BY y ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM (SELECT a.a AS x, b.a AS y FROM big a, big b, big c)
        SELECT count(*) FILTER (WHERE a.a IN (SELECT b.a FROM big b, big c WHERE c.b = a.b)) FROM big a, big x
        SELECT max(s) FROM (SELECT min(a.a) OVER (PARTITION BY a.b ORDER BY a.a ROWS BETWEEN 1000 PRECEDING AND 1000 FOLLOWING EXCLUDE TIES) AS s FROM big a, big b)
        SELECT count(*) FROM json_each('[1,2,3,4,5,6,7,8,9]') a, json_each('[1,2,3,4,5,6,7,8,9]') b, big c, big d, big e
        SELECT count(*) FROM f a, f b, big c, big d, big e WHERE a.a MATCH 'one'
        SELECT count(*) FROM r a, r b, big c, big d, big e WHERE a.x0 < 5
        SELECT count(*) FROM big a, big b, big c WHERE printf('%s', a.a) || b.a LIKE '%9%9%9%9%'
        SELECT * FROM pragma_table_info('t') a, big b, big c, big d WHERE a.cid = 5
        "#,
    ),
    (
        "without an end, writing",
        "cpu lost",
        r#"
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) INSERT INTO t SELECT i FROM n WHERE i = 2
        INSERT INTO t SELECT a.a FROM big a, big b, big c, big d WHERE d.b * c.b < 0
        UPDATE big SET b = (SELECT count(*) FROM big x, big y, big z)
        DELETE FROM big WHERE a IN (SELECT x.a + y.a * 0 FROM big x, big y, big z)
        CREATE TABLE x AS SELECT count(*) AS c FROM big a, big b, big c
        CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT count(*) FROM big a, big b, big c; END; INSERT INTO t VALUES(1)
        CREATE TABLE x(a CHECK(a > 0)); INSERT INTO x SELECT a.a FROM big a, big b, big c WHERE c.b * a.b < 0
        INSERT INTO t VALUES((SELECT count(*) FROM big a, big b, big c)) RETURNING a
        "#,
    ),
    (
        "too much on disk",
        "full | full lost | transaction | transaction lost | cpu | cpu lost",
        r#"
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200) INSERT INTO t SELECT zeroblob(1000000) FROM n
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200) INSERT INTO t SELECT randomblob(1000000) FROM n RETURNING 1
        CREATE TABLE x(a, b AS (zeroblob(4000000)) STORED); INSERT INTO x(a) SELECT a FROM big
        INSERT INTO f SELECT hex(zeroblob(500000)) FROM big
        CREATE TRIGGER tr AFTER INSERT ON t WHEN new.a < 10 BEGIN INSERT INTO t SELECT zeroblob(4000000) FROM big; END; INSERT INTO t VALUES(3)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t SELECT i FROM n
        "#,
    ),
    (
        "too long",
        "too-big",
        r#"
        SELECT zeroblob(9000000)
        SELECT zeroblob(9223372036854775807)
        SELECT randomblob(9000000)
        SELECT hex(zeroblob(5000000))
        SELECT quote(zeroblob(5000000))
        SELECT printf('%9000000d', 1)
        SELECT printf('%.9000000d', 1)
        SELECT printf('%-9000000s', 'x')
        SELECT printf('%*d', 9000000, 1)
        SELECT format('%9000000c', 'x')
        SELECT replace(hex(zeroblob(4000)), '0', hex(zeroblob(4000)))
        SELECT group_concat(zeroblob(300000)) FROM big
        SELECT string_agg(printf('%6000d', a), '') FROM big
        SELECT json_group_array(printf('%6000d', a)) FROM big
        SELECT json_group_object(a, printf('%6000d', a)) FROM big
        SELECT concat(zeroblob(4000000), zeroblob(4000000), zeroblob(4000000))
        SELECT concat_ws(hex(zeroblob(1000000)), 1, 2, 3, 4, 5, 6, 7)
        SELECT hex(zeroblob(3000000)) || hex(zeroblob(3000000))
        SELECT json_array(hex(zeroblob(3000000)), hex(zeroblob(3000000)))
        WITH RECURSIVE x(s) AS (SELECT 'xx' UNION ALL SELECT s || s FROM x) SELECT max(length(s)) FROM x
        INSERT INTO t VALUES(zeroblob(8388600) || 'xxxxxxxxxxxxxxxxxxxxxxx')
        CREATE TABLE x(a, b); INSERT INTO x VALUES(zeroblob(5000000), zeroblob(5000000))
        "#,
    ),
    (
        "too much in memory",
        "memory lost | memory | too-big | cpu | cpu lost",
        r#"
        SELECT json_pretty('[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]', hex(zeroblob(4000000)))
        WITH x AS MATERIALIZED (SELECT hex(zeroblob(4000000)) AS a) SELECT a||1,a||2,a||3,a||4,a||5,a||6,a||7,a||8,a||9,a||10,a||11,a||12,a||13,a||14,a||15,a||16,a||17,a||18,a||19,a||20 FROM x
        "#,
    ),
    (
        "patterns",
        "sql",
        r#"
        SELECT 'a' LIKE '%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%'
        SELECT 'a' GLOB '*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b'
        SELECT like(hex(zeroblob(100)), 'a')
        SELECT glob(hex(zeroblob(100)), 'a')
        SELECT 'a' LIKE hex(zeroblob(100)) ESCAPE '0'
        SELECT 'a' LIKE 'b' ESCAPE 'cd'
        "#,
    ),
    (
        "one call with megabytes",
        "ok | cpu | cpu lost",
        r#"
        SELECT instr(hex(zeroblob(4000000)), hex(zeroblob(2000000)) || '1')
        SELECT instr(zeroblob(8000000), zeroblob(4000000) || x'01')
        SELECT length(replace(hex(zeroblob(4000000)), hex(zeroblob(2000000)) || '1', ''))
        SELECT length(trim(hex(zeroblob(500000)), '123456789ABCDEFG0'))
        SELECT length(ltrim(hex(zeroblob(500000)), hex(randomblob(100000))))
        SELECT unhex(hex(zeroblob(500000)) || ' ', hex(randomblob(100000)))
        SELECT hex(zeroblob(4000000)) LIKE '%000000000000000000000000000000000000000000000001'
        SELECT hex(zeroblob(4000000)) GLOB '*000000000000000000000000000000000000000000000001'
        SELECT hex(zeroblob(4000000)) GLOB '*[1-9][1-9][1-9][1-9][1-9][1-9][1-9][1-9][1-9]'
        SELECT length(printf('%8000000s', 'x'))
        SELECT length(printf('%,.7000000f', 1e300))
        SELECT length(quote(hex(zeroblob(3000000))))
        SELECT length(soundex(hex(zeroblob(4000000))))
        SELECT length(upper(lower(hex(zeroblob(4000000)))))
        SELECT hex(zeroblob(4000000)) + 1
        SELECT CAST(hex(zeroblob(4000000)) AS REAL)
        SELECT date(hex(zeroblob(4000000)))
        SELECT length(strftime(replace(hex(zeroblob(500000)), '0', '%Y'), 'now'))
        SELECT json_valid('[' || replace(hex(zeroblob(1000000)), '0', '1,') || '1]')
        SELECT json_extract('[' || replace(hex(zeroblob(1000000)), '0', '1,') || '1]', '$[#-1]')
        SELECT length(json_set('[' || replace(hex(zeroblob(1000000)), '0', '1,') || '1]', '$[0]', 'x'))
        SELECT length(json_remove('[' || replace(hex(zeroblob(1000000)), '0', '1,') || '1]', '$[0]', '$[0]', '$[0]'))
        SELECT count(*) FROM json_each('[' || replace(hex(zeroblob(1000000)), '0', '1,') || '1]')
        SELECT count(*) FROM json_tree('[' || replace(hex(zeroblob(1000000)), '0', '{},') || '1]') a, big b
        SELECT max(hex(zeroblob(2000000)) COLLATE NOCASE, hex(zeroblob(2000000)))
        SELECT count(*) FROM big ORDER BY hex(zeroblob(100000))
        INSERT INTO f VALUES(replace(hex(zeroblob(1000000)), '00', 'ab '))
        INSERT INTO f VALUES(replace(hex(zeroblob(500000)), '00', 'ab ')); SELECT length(highlight(f, 0, '<', '>')) FROM f('ab')
        INSERT INTO f VALUES(replace(hex(zeroblob(500000)), '00', 'ab ')); SELECT snippet(f, 0, '<', '>', '', 64) FROM f('ab')
        SELECT count(*) FROM f(replace(hex(zeroblob(100000)), '0', 'ab OR ') || 'ab')
        SELECT median(a.a) FROM big a, big b
        "#,
    ),
    (
        "FTS5 tricks",
        "sql | denied",
        r#"
        CREATE VIRTUAL TABLE x USING fts5(a, tokenize='nosuch')
        CREATE VIRTUAL TABLE x USING fts5(a, tokenize='icu de')
        CREATE VIRTUAL TABLE x USING fts5(a, content='f_data', content_rowid='x'); INSERT INTO x(x) VALUES('rebuild')
        CREATE VIRTUAL TABLE x USING fts5(a, prefix='1 2 99999')
        CREATE VIRTUAL TABLE x USING fts5(a, columnsize=7)
        CREATE VIRTUAL TABLE x USING fts5(rank)
        CREATE VIRTUAL TABLE x USING fts5(rowid)
        INSERT INTO f(f) VALUES('nosuch')
        INSERT INTO f(f, rank) VALUES('pgsz', -1)
        INSERT INTO f(f, rank) VALUES('rank', 'nosuch(1'); SELECT * FROM f('one') ORDER BY rank
        SELECT * FROM f('one') WHERE rank MATCH 'load_extension(''x'')' ORDER BY rank
        SELECT * FROM f('"')
        SELECT * FROM f('NEAR(one two, 99999999999999')
        SELECT * FROM f('a : b : c')
        SELECT * FROM f('^')
        SELECT highlight(t, 0, '<', '>') FROM t
        SELECT bm25(t) FROM t
        DELETE FROM f WHERE f MATCH 'AND'
        "#,
    ),
    (
        "R*Tree tricks",
        "sql | constraint | denied",
        r#"
        CREATE VIRTUAL TABLE x USING rtree(id, a)
        CREATE VIRTUAL TABLE x USING rtree(id, a, b, c, d, e, f, g, h, i, j, k, l)
        INSERT INTO r VALUES(2, 5, 1)
        INSERT INTO r VALUES(1, 2, 3)
        SELECT * FROM r WHERE id MATCH 'x'
        SELECT * FROM r WHERE x0 MATCH circle(1, 2)
        "#,
    ),
    (
        "JSON tricks",
        "sql",
        r#"
        SELECT json('{')
        SELECT json_extract('{}', 'a.b')
        SELECT json_set('[]', '$', json('['))
        SELECT jsonb('{"a":') -> 'a'
        SELECT json_each('[]')
        SELECT * FROM json_tree('[', '$')
        SELECT json_object('a')
        SELECT json_object(x'00', 1)
        SELECT json(x'ffffffff')
        SELECT json_extract(x'bc00000000', '$.a')
        "#,
    ),
    (
        "text that is none",
        "sql",
        r#"
        SELECT trim('a', CAST(x'c3808080808080808080' AS TEXT))
        "#,
    ),
    (
        "misread quotes, numbers and words",
        "sql",
        r#"
        SELECT "no such column"
        SELECT * FROM t WHERE "x" = "y"
        INSERT INTO t VALUES("text")
        CREATE INDEX i ON t("no such")
        SELECT 'open
        SELECT "open
        SELECT [open
        SELECT 0x10000000000000000
        SELECT 0x
        SELECT 1e
        SELECT 12ab
        SELECT x'1'
        SELECT x'gg'
        SELECT ?1001
        SELECT ?0
        SELECT ?99999999999
        SELECT $
        SELECT @
        SELECT #1
        SELECT \
        SELECT 1 FROM t LIMIT 'x'
        SELECT * FROM t GROUP BY 2
        SELECT abs(-9223372036854775808)
        SELECT sum(a) FROM (SELECT 9223372036854775807 AS a UNION ALL SELECT 1)
        SELECT json_extract('{}', '$.a', 1 2)
        SELECT CASE
        SELECT * FROM nowhere
        EXPLAIN EXPLAIN SELECT 1
        SELECT 1 1
        ;;; garbage
        "#,
    ),
    (
        "harmless",
        "ok",
        r#"
        SELECT CAST(x'ff' AS TEXT)
        SELECT CAST(x'c080' AS TEXT)
        SELECT CAST(x'eda080' AS TEXT)
        SELECT upper(CAST(x'80' AS TEXT))
        SELECT group_concat(CAST(x'fe' AS TEXT)) FROM t
        SELECT name FROM sqlite_schema
        SELECT sql FROM sqlite_schema WHERE name = '_facetd_kv'
        SELECT 9223372036854775807 + 1
        SELECT -9223372036854775808 / -1
        SELECT -9223372036854775808 % -1
        SELECT 1 << 9223372036854775807, 1 >> -9223372036854775808
        SELECT 1 / 0, 1 % 0, 1.0 / 0
        SELECT CAST('9' || hex(zeroblob(100)) AS INTEGER)
        SELECT round(1.5, 9223372036854775807)
        SELECT substr('abc', -9223372036854775808, 9223372036854775807)
        SELECT zeroblob(-9223372036854775808), randomblob(-1)
        SELECT char(1114112, -1, 0)
        SELECT printf('%s %d %n %!', 1)
        SELECT printf('%2147483647d', 1) IS NULL WHERE 0
        SELECT strftime('%f', 1e308)
        SELECT datetime('now', '+9999999999 years')
        SELECT unicode(''), hex(NULL), quote(NULL)
        SELECT '_facetd_kv', '_facetd' || 'x'
        SELECT 'ATTACH ''x'' AS y; VACUUM'
        SELECT * FROM t -- ; DROP TABLE t
        /* ATTACH 'x' AS y */ SELECT 1
        SELECT 1 /* open
        ANALYZE; SELECT * FROM sqlite_stat1
        ANALYZE; INSERT INTO sqlite_stat1 VALUES('t', NULL, '999999999999999999999999999'); ANALYZE sqlite_schema; SELECT * FROM t
        ANALYZE; UPDATE sqlite_stat4 SET sample = x'ffffffffff'; SELECT * FROM big WHERE b = 3
        ANALYZE; DELETE FROM sqlite_stat1
        REINDEX; REINDEX t; REINDEX NOCASE
        CREATE TABLE x(a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO x VALUES(1); UPDATE sqlite_sequence SET seq = 9223372036854775806
        EXPLAIN SELECT * FROM t
        PRAGMA optimize
        PRAGMA table_list
        PRAGMA foreign_key_check
        PRAGMA quick_check
        PRAGMA recursive_triggers = ON
        PRAGMA ignore_check_constraints = 1
        SELECT * FROM t NOT INDEXED
        CREATE TABLE "sel""ect"(" " , "a;b", [c]); DROP TABLE "sel""ect"
        -- x; VACUUM
        REINDEX _facetd_kv
        PRAGMA temp.table_info(t)
        CREATE INDEX i ON r_node(data); INSERT INTO r VALUES(2, 3, 4); SELECT rtreecheck('r')
        CREATE VIRTUAL TABLE x USING rtree(id, a, b; DROP TABLE t); SELECT * FROM t
        SELECT * FROM f('one') WHERE rank MATCH 'bm25(); DROP TABLE t' ORDER BY rank; SELECT * FROM t
        SELECT replace(zeroblob(8000), x'00', '12')
        SELECT json_extract('{}', '$['), json_array(x'00'), json_insert('{}', '$.a', x'00')
        CREATE TABLE "名前"("値"); INSERT INTO "名前" VALUES('\0'); DROP TABLE "名前"
        SELECT name FROM pragma_table_list WHERE name LIKE '%facetd%'
        SELECT * FROM f('one AND two NOT four')
        INSERT INTO f(f, rank) VALUES('pgsz', 64); INSERT INTO f(f) VALUES('optimize')
        INSERT INTO f(f) VALUES('integrity-check')
        SELECT rtreecheck('r')
        SELECT CAST(x'00' AS TEXT), length('a' || char(0) || 'b')
        "#,
    ),
];

/// Statements that are too long to be written down.
pub(super) fn made() -> Vec<(&'static str, &'static str, String)> {
    let mut all = Vec::new();
    let mut add = |group, expect, text: String| all.push((group, expect, text));
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("SELECT {}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    for text in [
        nested("(", "1", ")", 20_000),
        nested("-", "1", "", 20_000),
        nested("~", "1", "", 20_000),
        nested("NOT ", "1", "", 20_000),
        nested("(SELECT ", "1", ")", 9_000),
        nested("* FROM (SELECT ", "1", ")", 6_000),
        nested("abs(", "1", ")", 9_000),
        nested("CASE WHEN 1 THEN ", "1", " END", 4_000),
        nested("1 IN (", "1", ")", 9_000),
        nested("EXISTS(SELECT ", "1", ")", 6_000),
        format!("SELECT 1{}", "+1".repeat(40_000)),
        format!("SELECT 1{}", " AND 1".repeat(15_000)),
        format!("SELECT 'a'{}", "||'a'".repeat(15_000)),
        format!("SELECT 1{}", " COLLATE NOCASE".repeat(6_000)),
        format!("SELECT '{{}}'{}", "->'a'".repeat(15_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(5_000)),
        format!("SELECT 1{}", " EXCEPT SELECT 1".repeat(5_000)),
        format!("WITH {} SELECT 1", vec!["a AS (WITH"; 7_000].join(" ")),
        format!("SELECT * FROM {}t{}", "(".repeat(20_000), ")".repeat(20_000)),
    ] {
        add("too deep", "sql", text);
    }
    for text in [
        format!("SELECT * FROM {}", vec!["t"; 1_000].join(" JOIN ")),
        format!("SELECT {}", vec!["1"; 30_000].join(",")),
        format!("SELECT max({})", vec!["1"; 30_000].join(",")),
        format!(
            "CREATE TABLE x({})",
            (0..600).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",")
        ),
        format!("SELECT * FROM t ORDER BY {}", vec!["a"; 600].join(",")),
        format!("SELECT * FROM t GROUP BY {}", vec!["a"; 600].join(",")),
        format!("CREATE INDEX i ON t({})", vec!["a"; 600].join(",")),
        format!(
            "CREATE VIRTUAL TABLE x USING fts5({})",
            (0..3000).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",")
        ),
        format!(
            "SELECT {}",
            (1..1_100).map(|i| format!("?{i}")).collect::<Vec<_>>().join("+")
        ),
        format!(
            "CREATE TRIGGER tr AFTER INSERT ON t BEGIN {} END",
            "INSERT INTO child VALUES(1);".repeat(150)
        ),
        format!("INSERT INTO t({}) VALUES(1)", vec!["a"; 600].join(",")),
    ] {
        add("too many", "sql", text);
    }
    let tables = (0..3000).map(|i| format!("CREATE TABLE x{i}(a);"));
    add("too many", "sql | cpu lost", tables.collect());
    for text in [
        format!("SELECT '{}'", "x".repeat(200_000)),
        format!("SELECT {}", "x".repeat(200_000)),
        format!("SELECT 1 -- {}", "x".repeat(200_000)),
        " ".repeat(200_000) + "SELECT 1",
        format!("SELECT x'{}'", "00".repeat(100_000)),
    ] {
        add("too long a text", "too-big", text);
    }
    let views = |count: usize, body: &str| -> String {
        let views = (0..count).map(|i| {
            let below = if i == 0 { "t".to_owned() } else { format!("w{}", i - 1) };
            format!("CREATE VIEW w{i} AS {};", body.replace('$', &below))
        });
        views.collect::<String>() + &format!("SELECT count(*) FROM w{}", count - 1)
    };
    add("views in views", "sql", views(300, "SELECT * FROM $"));
    add(
        "views in views",
        "sql | too-big | cpu",
        views(40, "SELECT a FROM $ UNION ALL SELECT a FROM $"),
    );
    add(
        "views in views",
        "sql | too-big | cpu",
        views(12, "SELECT x.a FROM $ x, $ y, $ z"),
    );
    let triggers = (0..30).map(|i| {
        format!(
            "CREATE TABLE c{i}(a); CREATE TRIGGER tr{i} AFTER INSERT ON c{i} BEGIN INSERT INTO c{} VALUES(1); END;",
            i + 1
        )
    });
    add(
        "triggers of triggers",
        "sql",
        triggers.collect::<String>() + "CREATE TABLE c30(a); INSERT INTO c0 VALUES(1)",
    );
    for body in [
        "INSERT INTO t VALUES(new.a + 1);",
        "INSERT INTO t VALUES(new.a + 1); INSERT INTO t VALUES(new.a + 2); INSERT INTO t VALUES(new.a + 3);",
        "UPDATE t SET a = a + 1;",
    ] {
        let text = format!(
            "PRAGMA recursive_triggers = ON; CREATE TRIGGER tr AFTER INSERT ON t BEGIN {body} END;
             CREATE TRIGGER tu AFTER UPDATE ON t BEGIN {body} END; INSERT INTO t VALUES(1)"
        );
        add("triggers of themselves", "sql | cpu lost", text);
    }
    let cascade = (0..30).map(|i| {
        let above = if i == 0 {
            String::new()
        } else {
            format!(" REFERENCES p{}(a) ON DELETE CASCADE", i - 1)
        };
        format!("CREATE TABLE p{i}(a PRIMARY KEY{above}); INSERT INTO p{i} VALUES(1);")
    });
    add("cascades", "sql", cascade.collect::<String>() + "DELETE FROM p0");
    let deep = "[".repeat(2000) + &"]".repeat(2000);
    add("JSON too deep", "sql", format!("SELECT json('{deep}')"));
    add("JSON too deep", "sql", format!("SELECT json_patch('{deep}', '{deep}')"));
    add(
        "FTS5 too deep",
        "sql",
        format!("SELECT * FROM f('{}a{}')", "(".repeat(5_000), ")".repeat(5_000)),
    );
    add(
        "FTS5 too deep",
        "sql",
        format!("SELECT * FROM f('{}a')", "a NOT ".repeat(10_000)),
    );
    add("NUL", "sql", "SELECT 1\0; DROP TABLE t".to_owned());
    add("NUL", "sql", "SELECT '\0'".to_owned());
    add("NUL", "sql", "CREATE TABLE \"a\0b\"(x)".to_owned());
    add(
        "a row of many values",
        "memory lost | memory | cpu | cpu lost",
        format!("SELECT {}", vec!["randomblob(8000000)"; 400].join(",")),
    );
    add(
        "a row of many values",
        "too-big | memory | memory lost | cpu | cpu lost",
        format!("SELECT {}", vec!["hex(zeroblob(2000000))"; 20].join(",")),
    );
    add(
        "objects patched together",
        "sql",
        "WITH o(j) AS (SELECT json_group_object('key' || a.a || '-' || b.a, 1) FROM big a, (SELECT a FROM big LIMIT 20) b)
         SELECT length(json_patch(j, j)) FROM o"
            .to_owned(),
    );
    all
}
