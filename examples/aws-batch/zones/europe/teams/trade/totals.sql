SELECT c.country, COUNT(*) AS orders, SUM(o.total) AS total
FROM Trade.orders AS o
JOIN Trade.customers AS c ON c.customer_id = o.customer_id
WHERE c.country IS NOT NULL
GROUP BY c.country
