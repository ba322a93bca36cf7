CREATE SCHEMA prod;
CREATE TABLE prod.nps (id INT PRIMARY KEY, created_at TIMESTAMP NOT NULL, score SMALLINT);
CREATE TABLE prod.orders (
    id BIGINT PRIMARY KEY, customer_id INT NOT NULL, big_ref NUMERIC(20), qty SMALLINT, amount NUMERIC(12, 2) NOT NULL,
    tax NUMERIC(12, 2), status VARCHAR(20), name VARCHAR(100), addr VARCHAR(200), note VARCHAR(300), email VARCHAR(120),
    city VARCHAR(60), day DATE, created_at TIMESTAMP, modified_at TIMESTAMP, paid BOOLEAN, flag BOOLEAN,
    ratio DOUBLE PRECISION, body TEXT, meta JSONB
);
