-- Keeps who the customer is, and hides whom to call: an initial, and the last two digits.
SELECT
  customer_id,
  company_name,
  CASE WHEN contact_name IS NULL THEN NULL ELSE concat(substr(contact_name, 1, 1), '***') END AS contact_name,
  CASE WHEN phone IS NULL THEN NULL ELSE concat('***', right(phone, 2)) END AS phone,
  country
FROM NW_Data.customers
