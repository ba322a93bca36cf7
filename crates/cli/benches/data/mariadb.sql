-- A long narrow table and a wide one of mixed types.
CREATE TABLE nps (
    id INT AUTO_INCREMENT PRIMARY KEY,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    score SMALLINT
) CHARACTER SET utf8mb4;
INSERT INTO nps
SELECT seq, FROM_UNIXTIME(1735689600 + FLOOR(seq * 365.0 * 86400 / 5000001)), IF(seq % 97 = 0, NULL, (seq * 7919) % 11)
FROM seq_1_to_5000000;
CREATE TABLE orders (
    id BIGINT PRIMARY KEY, customer_id INT NOT NULL, big_ref BIGINT UNSIGNED, qty SMALLINT,
    amount DECIMAL(12, 2) NOT NULL, tax DECIMAL(12, 2), status VARCHAR(20), name VARCHAR(100), addr VARCHAR(200),
    note VARCHAR(300), email VARCHAR(120), city VARCHAR(60), day DATE, created_at DATETIME(6), modified_at DATETIME(6),
    paid BOOL, flag TINYINT(1), ratio DOUBLE, body TEXT, meta JSON
) CHARACTER SET utf8mb4;
INSERT INTO orders
SELECT seq, (seq * 7919) % 100000, seq * 9000000000, seq % 500, (seq % 1000000) / 100.0 + 0.01,
    IF(seq % 5 = 0, NULL, (seq % 10007) / 7.0), ELT(1 + seq % 4, 'new', 'paid', 'shipped', ''),
    IF(seq % 11 = 0, NULL, CONCAT('Name, ', seq, ' "Quoted"')), CONCAT(seq, ' Main St\nApt ', seq % 90),
    CASE seq % 4 WHEN 0 THEN '' WHEN 1 THEN NULL WHEN 2 THEN 'naïve café 漢字 😀 €' ELSE CONCAT('plain note ', seq) END,
    CONCAT('user', seq, '@example.com'), ELT(1 + seq % 5, 'São Paulo', '東京', 'Berlin', 'New York', '🚀 City'),
    DATE_ADD('2024-01-01', INTERVAL seq % 700 DAY),
    DATE_ADD('2024-01-01 00:00:00.000000', INTERVAL seq * 37000123 MICROSECOND),
    DATE_ADD('2024-06-01 00:00:00.000000', INTERVAL seq * 17000321 MICROSECOND),
    seq % 2, IF(seq % 13 = 0, NULL, seq % 3 = 0), seq / 3.0e0,
    CONCAT(REPEAT(CONCAT('lorem ipsum ', seq % 100, ', '), 12), 'end'),
    JSON_OBJECT('k', seq, 'tags', JSON_ARRAY('a', 'b"c'), 'u', '😀')
FROM seq_1_to_1000000;
