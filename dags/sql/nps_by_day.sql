SELECT
  CAST(created_at AS DATE) AS day,
  COUNT(*) AS answers,
  SUM(CASE WHEN score >= 9 THEN 1 ELSE 0 END) AS promoters,
  SUM(CASE WHEN score <= 6 THEN 1 ELSE 0 END) AS detractors,
  100 * (SUM(CASE WHEN score >= 9 THEN 1 ELSE 0 END) - SUM(CASE WHEN score <= 6 THEN 1 ELSE 0 END)) / COUNT(*) AS nps
FROM analytics.nps
WHERE created_at IS NOT NULL
GROUP BY CAST(created_at AS DATE)
