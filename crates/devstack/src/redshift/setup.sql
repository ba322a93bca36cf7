-- What Redshift has and PostgreSQL has not. Run at every start; must change nothing that is there already.
CREATE SCHEMA IF NOT EXISTS redshift_stand_in;

CREATE SEQUENCE IF NOT EXISTS redshift_stand_in.query_ids START 1000;

-- Declared keys: Redshift keeps them for the planner and enforces none of them.
CREATE TABLE IF NOT EXISTS redshift_stand_in.declared_keys (
    relid oid NOT NULL,
    key_name text NOT NULL,
    kind char(1) NOT NULL CHECK (kind IN ('p', 'u', 'f')),
    columns smallint[] NOT NULL
);
CREATE INDEX IF NOT EXISTS declared_keys_relid ON redshift_stand_in.declared_keys (relid);

-- DISTSTYLE, DISTKEY, SORTKEY and ENCODE: without effect, but answered by pg_table_def.
CREATE TABLE IF NOT EXISTS redshift_stand_in.table_attributes (
    relid oid PRIMARY KEY,
    diststyle text,
    distkey text,
    sortkey text[] NOT NULL,
    encodings jsonb NOT NULL
);

-- When a table was made, which pg_class_info tells.
CREATE TABLE IF NOT EXISTS redshift_stand_in.table_creations (
    relid oid PRIMARY KEY,
    created timestamp NOT NULL
);

CREATE OR REPLACE VIEW redshift_stand_in.pg_class_info AS
SELECT c.oid AS reloid, c.relname, c.relnamespace, c.reltype, c.relowner, c.relkind, t.created AS relcreationtime
FROM pg_catalog.pg_class c LEFT JOIN redshift_stand_in.table_creations t ON t.relid = c.oid;

CREATE TABLE IF NOT EXISTS redshift_stand_in.sys_load_error_detail (
    user_id integer NOT NULL,
    query_id bigint NOT NULL,
    transaction_id bigint NOT NULL,
    session_id integer NOT NULL,
    database_name character(64) NOT NULL,
    table_id integer NOT NULL,
    start_time timestamp NOT NULL,
    file_name character varying(1100) NOT NULL,
    line_number bigint NOT NULL,
    column_name character(127) NOT NULL,
    column_type character(10) NOT NULL,
    column_length character(10) NOT NULL,
    "position" integer NOT NULL,
    error_code integer NOT NULL,
    error_message character varying(512) NOT NULL
);

-- The raw line and value are shown by stl_load_errors only, as in Redshift.
CREATE TABLE IF NOT EXISTS redshift_stand_in.load_error_lines (
    query_id bigint NOT NULL,
    file_name text NOT NULL,
    line_number bigint NOT NULL,
    raw_line text NOT NULL,
    raw_field_value text NOT NULL
);

CREATE OR REPLACE VIEW redshift_stand_in.stl_load_errors AS
SELECT e.user_id AS userid, 0 AS slice, e.table_id AS tbl, e.start_time AS starttime, e.session_id AS session,
       e.query_id AS query, e.file_name AS filename, e.line_number, e.column_name AS colname, e.column_type AS type,
       e.column_length AS col_length, e."position", l.raw_line, l.raw_field_value, e.error_code AS err_code,
       e.error_message AS err_reason, 0 AS is_partial, 0::bigint AS start_offset
FROM redshift_stand_in.sys_load_error_detail e
JOIN redshift_stand_in.load_error_lines l
  ON l.query_id = e.query_id AND l.file_name = e.file_name AND l.line_number = e.line_number;

CREATE TABLE IF NOT EXISTS redshift_stand_in.sys_load_history (
    user_id integer NOT NULL,
    query_id bigint NOT NULL,
    transaction_id bigint NOT NULL,
    session_id integer NOT NULL,
    database_name text NOT NULL,
    status text NOT NULL,
    table_name text NOT NULL,
    start_time timestamp NOT NULL,
    end_time timestamp NOT NULL,
    duration bigint NOT NULL,
    data_source text NOT NULL,
    file_format text NOT NULL,
    loaded_rows bigint NOT NULL,
    loaded_bytes bigint NOT NULL,
    source_file_count integer NOT NULL,
    source_file_bytes bigint NOT NULL,
    error_count bigint NOT NULL
);

-- Constraints as clients look them up, with the declared keys in place of enforced ones.
CREATE OR REPLACE VIEW redshift_stand_in.pg_constraint AS
SELECT k.relid AS oid, k.key_name::name AS conname, c.relnamespace AS connamespace, k.kind::"char" AS contype,
       k.relid AS conrelid, k.columns AS conkey
FROM redshift_stand_in.declared_keys k JOIN pg_catalog.pg_class c ON c.oid = k.relid;

CREATE OR REPLACE VIEW redshift_stand_in.table_constraints AS
SELECT current_database()::text AS constraint_catalog, n.nspname::text AS constraint_schema, k.key_name AS constraint_name,
       current_database()::text AS table_catalog, n.nspname::text AS table_schema, c.relname::text AS table_name,
       CASE k.kind WHEN 'p' THEN 'PRIMARY KEY' WHEN 'u' THEN 'UNIQUE' ELSE 'FOREIGN KEY' END AS constraint_type,
       'NO'::text AS is_deferrable, 'NO'::text AS initially_deferred
FROM redshift_stand_in.declared_keys k
JOIN pg_catalog.pg_class c ON c.oid = k.relid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace;

CREATE OR REPLACE VIEW redshift_stand_in.key_column_usage AS
SELECT current_database()::text AS constraint_catalog, n.nspname::text AS constraint_schema, k.key_name AS constraint_name,
       current_database()::text AS table_catalog, n.nspname::text AS table_schema, c.relname::text AS table_name,
       a.attname::text AS column_name, u.position::integer AS ordinal_position
FROM redshift_stand_in.declared_keys k
JOIN pg_catalog.pg_class c ON c.oid = k.relid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL pg_catalog.unnest(k.columns) WITH ORDINALITY AS u (attnum, position)
JOIN pg_catalog.pg_attribute a ON a.attrelid = k.relid AND a.attnum = u.attnum;

CREATE OR REPLACE VIEW redshift_stand_in.pg_table_def AS
SELECT n.nspname AS schemaname, c.relname AS tablename, a.attname AS "column",
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
       COALESCE(t.encodings ->> a.attname::text, 'none') AS encoding,
       COALESCE(t.distkey = a.attname::text, false) AS distkey,
       COALESCE(pg_catalog.array_position(t.sortkey, a.attname::text), 0) AS sortkey,
       a.attnotnull AS "notnull"
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN redshift_stand_in.table_attributes t ON t.relid = c.oid
-- Redshift shows the tables of the schemas in the search path only.
WHERE c.relkind = 'r' AND n.nspname = ANY (pg_catalog.current_schemas(false)) AND n.nspname <> 'redshift_stand_in';

CREATE OR REPLACE VIEW redshift_stand_in.svv_tables AS
SELECT table_catalog::text, table_schema::text, table_name::text, table_type::text, NULL::text AS remarks
FROM information_schema.tables WHERE table_schema <> 'redshift_stand_in';

CREATE OR REPLACE VIEW redshift_stand_in.svv_columns AS
SELECT table_catalog::text, table_schema::text, table_name::text, column_name::text, ordinal_position::integer,
       column_default::text, is_nullable::text, data_type::text, character_maximum_length::integer,
       numeric_precision::integer, numeric_precision_radix::integer, numeric_scale::integer, datetime_precision::integer
FROM information_schema.columns WHERE table_schema <> 'redshift_stand_in';

-- Gives a table the rules that Redshift has for its columns: VARCHAR counts bytes, CHAR takes single-byte characters,
-- and there is no string without a length. Made again after every change of a table.
CREATE OR REPLACE FUNCTION redshift_stand_in.adopt(wanted regclass) RETURNS void LANGUAGE plpgsql AS $body$
DECLARE
    found record;
BEGIN
    INSERT INTO redshift_stand_in.table_creations VALUES (wanted, timezone('UTC', now())) ON CONFLICT DO NOTHING;
    FOR found IN
        SELECT conname FROM pg_catalog.pg_constraint
        WHERE conrelid = wanted AND contype = 'c' AND (conname LIKE 'rs!_varchar!_%' ESCAPE '!' OR conname LIKE 'rs!_char!_%' ESCAPE '!')
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', wanted, found.conname);
    END LOOP;
    FOR found IN
        SELECT attname FROM pg_catalog.pg_attribute
        WHERE attrelid = wanted AND attnum > 0 AND NOT attisdropped
          AND (atttypid = 'text'::regtype OR (atttypid = 'varchar'::regtype AND atttypmod = -1))
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I TYPE character varying(65535)', wanted, found.attname);
    END LOOP;
    FOR found IN
        SELECT attname, attnum, atttypid, atttypmod - 4 AS length FROM pg_catalog.pg_attribute
        WHERE attrelid = wanted AND attnum > 0 AND NOT attisdropped AND atttypmod > 4
          AND atttypid IN ('varchar'::regtype, 'bpchar'::regtype)
    LOOP
        IF found.atttypid = 'varchar'::regtype THEN
            EXECUTE pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (octet_length(%I) <= %s)',
                wanted, 'rs_varchar_' || found.length || '_' || found.attnum, found.attname, found.length);
        ELSE
            EXECUTE pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (octet_length(%I::text) = char_length(%I::text))',
                wanted, 'rs_char_' || found.length || '_' || found.attnum, found.attname, found.attname);
        END IF;
    END LOOP;
END
$body$;

-- Blanks at the end of a VARCHAR do not count when values are compared, as those of a CHAR do not in PostgreSQL: its functions
-- do it for the other type. Signs look for the operators of these types before those of text; GROUP BY, DISTINCT, PARTITION BY and
-- ORDER BY ask the default operator class, which is one for the whole database. That takes a superuser.
DO $body$
DECLARE
    sign record;
    pair record;
    name text;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_opfamily WHERE opfname = 'without_blanks'
               AND opfnamespace = 'redshift_stand_in'::pg_catalog.regnamespace) THEN
        RETURN;
    END IF;
    FOR pair IN SELECT * FROM (VALUES ('varchar', 'varchar'), ('varchar', 'bpchar'), ('bpchar', 'varchar')) AS p (a, b) LOOP
        FOR sign IN SELECT * FROM (VALUES
            ('=', 'bpchareq', '=', '<>', 'eq', ', HASHES, MERGES'),
            ('<>', 'bpcharne', '<>', '=', 'neq', ''),
            ('<', 'bpcharlt', '>', '>=', 'scalarlt', ''),
            ('<=', 'bpcharle', '>=', '>', 'scalarle', ''),
            ('>', 'bpchargt', '<', '<=', 'scalargt', ''),
            ('>=', 'bpcharge', '<=', '<', 'scalarge', '')) AS s (sign, does, turned, negated, guess, joins)
        LOOP
            name := pg_catalog.format('redshift_stand_in.%s_%s_%s', sign.does, pair.a, pair.b);
            EXECUTE pg_catalog.format('CREATE FUNCTION %s (%s, %s) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS %L',
                name, pair.a, pair.b, sign.does);
            EXECUTE pg_catalog.format('CREATE OPERATOR redshift_stand_in.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = %s, '
                'COMMUTATOR = OPERATOR(redshift_stand_in.%s), NEGATOR = OPERATOR(redshift_stand_in.%s), '
                'RESTRICT = %ssel, JOIN = %sjoinsel%s)',
                sign.sign, pair.a, pair.b, name, sign.turned, sign.negated, sign.guess, sign.guess,
                CASE WHEN pair.a = pair.b THEN sign.joins ELSE '' END);
        END LOOP;
    END LOOP;
    CREATE FUNCTION redshift_stand_in.compare(varchar, varchar) RETURNS integer
    LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bpcharcmp';
    CREATE FUNCTION redshift_stand_in.hash(varchar) RETURNS integer LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'hashbpchar';
    CREATE OPERATOR FAMILY redshift_stand_in.without_blanks USING btree;
    CREATE OPERATOR CLASS redshift_stand_in.without_blanks DEFAULT FOR TYPE varchar USING btree
    FAMILY redshift_stand_in.without_blanks AS
        OPERATOR 1 redshift_stand_in.<, OPERATOR 2 redshift_stand_in.<=, OPERATOR 3 redshift_stand_in.=,
        OPERATOR 4 redshift_stand_in.>=, OPERATOR 5 redshift_stand_in.>, FUNCTION 1 redshift_stand_in.compare(varchar, varchar);
    CREATE OPERATOR FAMILY redshift_stand_in.without_blanks USING hash;
    CREATE OPERATOR CLASS redshift_stand_in.without_blanks DEFAULT FOR TYPE varchar USING hash
    FAMILY redshift_stand_in.without_blanks AS
        OPERATOR 1 redshift_stand_in.=, FUNCTION 1 redshift_stand_in.hash(varchar);
END
$body$;

-- Column numbers of a declared key; fails as Redshift does when a column is not there.
CREATE OR REPLACE FUNCTION redshift_stand_in.declare_key(wanted regclass, key_name text, key_kind text, key_columns text[])
RETURNS void LANGUAGE plpgsql AS $body$
DECLARE
    key_column text;
    number smallint;
    numbers smallint[] := '{}';
BEGIN
    FOREACH key_column IN ARRAY key_columns LOOP
        SELECT attnum INTO number FROM pg_catalog.pg_attribute
        WHERE attrelid = wanted AND attname = key_column AND attnum > 0 AND NOT attisdropped;
        IF number IS NULL THEN
            RAISE EXCEPTION 'column "%" named in key does not exist', key_column;
        END IF;
        numbers := numbers || number;
        IF key_kind = 'p' THEN
            EXECUTE pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', wanted, key_column);
        END IF;
    END LOOP;
    INSERT INTO redshift_stand_in.declared_keys VALUES (wanted, key_name, key_kind, numbers);
END
$body$;

-- An identity column has a default there, which says where its values come from.
CREATE OR REPLACE VIEW redshift_stand_in.pg_attrdef AS
SELECT d.adrelid, d.adnum, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS adbin,
       pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS adsrc
FROM pg_catalog.pg_attrdef d
UNION ALL
SELECT a.attrelid, a.attnum, i.source, i.source
FROM pg_catalog.pg_attribute a
CROSS JOIN LATERAL (SELECT CASE a.attidentity WHEN 'a' THEN '"identity"' ELSE '"default_identity"' END
                           || '(' || a.attrelid || ', ' || (a.attnum - 1) || ', ''1,1''::text)' AS source) i
WHERE a.attidentity <> '' AND NOT a.attisdropped;
CREATE OR REPLACE FUNCTION redshift_stand_in.pg_get_expr(expression text, relation oid) RETURNS text LANGUAGE sql IMMUTABLE AS
$body$ SELECT expression $body$;

CREATE OR REPLACE FUNCTION redshift_stand_in.pg_last_copy_count() RETURNS bigint LANGUAGE sql STABLE AS
$body$ SELECT COALESCE(NULLIF(pg_catalog.current_setting('redshift_stand_in.copy_count', true), ''), '-1')::bigint $body$;
CREATE OR REPLACE FUNCTION redshift_stand_in.pg_last_copy_id() RETURNS bigint LANGUAGE sql STABLE AS
$body$ SELECT COALESCE(NULLIF(pg_catalog.current_setting('redshift_stand_in.copy_id', true), ''), '-1')::bigint $body$;
CREATE OR REPLACE FUNCTION redshift_stand_in.pg_last_unload_count() RETURNS bigint LANGUAGE sql STABLE AS
$body$ SELECT COALESCE(NULLIF(pg_catalog.current_setting('redshift_stand_in.unload_count', true), ''), '-1')::bigint $body$;
CREATE OR REPLACE FUNCTION redshift_stand_in.pg_last_query_id() RETURNS bigint LANGUAGE sql STABLE AS
$body$ SELECT COALESCE(NULLIF(pg_catalog.current_setting('redshift_stand_in.query_id', true), ''), '-1')::bigint $body$;

CREATE OR REPLACE FUNCTION redshift_stand_in.getdate() RETURNS timestamp LANGUAGE sql STABLE AS
$body$ SELECT pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() AT TIME ZONE 'UTC') $body$;
CREATE OR REPLACE FUNCTION redshift_stand_in.len(value text) RETURNS integer LANGUAGE sql IMMUTABLE AS
$body$ SELECT pg_catalog.char_length(value) $body$;
CREATE OR REPLACE FUNCTION redshift_stand_in.json_parse(value text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
$body$ SELECT value::jsonb $body$;
CREATE OR REPLACE FUNCTION redshift_stand_in.to_varbyte(value text, form text) RETURNS bytea LANGUAGE sql IMMUTABLE AS
$body$ SELECT pg_catalog.decode(value, CASE WHEN form IN ('hex', 'base64') THEN form WHEN form = 'utf8' THEN 'escape' END) $body$;
CREATE OR REPLACE FUNCTION redshift_stand_in.strtol(digits text, base integer) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $body$
BEGIN
    IF base <> 16 THEN
        RAISE EXCEPTION 'STRTOL with base % is not emulated', base;
    END IF;
    RETURN ('x' || pg_catalog.lpad(digits, 16, '0'))::bit(64)::bigint;
END $body$;
CREATE OR REPLACE FUNCTION redshift_stand_in.nvl2(value anyelement, present anycompatible, absent anycompatible) RETURNS anycompatible
LANGUAGE sql IMMUTABLE AS $body$ SELECT CASE WHEN value IS NULL THEN absent ELSE present END $body$;

CREATE OR REPLACE FUNCTION redshift_stand_in.dateadd(part text, amount bigint, moment timestamp) RETURNS timestamp
LANGUAGE sql IMMUTABLE AS $body$
    SELECT moment + CASE pg_catalog.lower(part)
        WHEN 'quarter' THEN amount * interval '3 months'
        ELSE (amount || ' ' || part)::interval END
$body$;

-- Redshift counts the boundaries that are crossed, not the time between.
CREATE OR REPLACE FUNCTION redshift_stand_in.datediff(part text, first timestamp, second timestamp) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $body$
    SELECT CASE pg_catalog.lower(pg_catalog.rtrim(part, 's'))
        WHEN 'year' THEN pg_catalog.date_part('year', second) - pg_catalog.date_part('year', first)
        WHEN 'quarter' THEN (pg_catalog.date_part('year', second) - pg_catalog.date_part('year', first)) * 4
            + pg_catalog.date_part('quarter', second) - pg_catalog.date_part('quarter', first)
        WHEN 'month' THEN (pg_catalog.date_part('year', second) - pg_catalog.date_part('year', first)) * 12
            + pg_catalog.date_part('month', second) - pg_catalog.date_part('month', first)
        ELSE pg_catalog.round(extract(epoch FROM pg_catalog.date_trunc(pg_catalog.rtrim(part, 's'), second)
            - pg_catalog.date_trunc(pg_catalog.rtrim(part, 's'), first)) / extract(epoch FROM ('1 ' || part)::interval))
        END::bigint
$body$;

-- MERGE takes a table as source, not a view.
CREATE OR REPLACE FUNCTION redshift_stand_in.require_table(wanted regclass) RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
    IF (SELECT relkind FROM pg_catalog.pg_class WHERE oid = wanted) <> 'r' THEN
        RAISE EXCEPTION 'MERGE source must be a table, not a view or a subquery';
    END IF;
END
$body$;

-- ALTER TABLE APPEND: same columns of the same types, in any order; returns how many rows were moved.
CREATE OR REPLACE FUNCTION redshift_stand_in.append(target regclass, source regclass) RETURNS bigint LANGUAGE plpgsql AS $body$
DECLARE
    target_columns text;
    source_columns text;
    moved bigint;
BEGIN
    SELECT pg_catalog.string_agg(pg_catalog.format('%I %s', attname, pg_catalog.format_type(atttypid, atttypmod)), ', ' ORDER BY attname)
    INTO target_columns FROM pg_catalog.pg_attribute WHERE attrelid = target AND attnum > 0 AND NOT attisdropped;
    SELECT pg_catalog.string_agg(pg_catalog.format('%I %s', attname, pg_catalog.format_type(atttypid, atttypmod)), ', ' ORDER BY attname)
    INTO source_columns FROM pg_catalog.pg_attribute WHERE attrelid = source AND attnum > 0 AND NOT attisdropped;
    IF target_columns IS DISTINCT FROM source_columns THEN
        RAISE EXCEPTION 'Columns of source and target table do not match: % and %', source_columns, target_columns;
    END IF;
    SELECT pg_catalog.string_agg(pg_catalog.quote_ident(attname), ', ' ORDER BY attname)
    INTO target_columns FROM pg_catalog.pg_attribute WHERE attrelid = target AND attnum > 0 AND NOT attisdropped;
    EXECUTE pg_catalog.format('INSERT INTO %s (%s) SELECT %s FROM %s', target, target_columns, target_columns, source);
    GET DIAGNOSTICS moved = ROW_COUNT;
    EXECUTE pg_catalog.format('DELETE FROM %s', source);
    RETURN moved;
END
$body$;
