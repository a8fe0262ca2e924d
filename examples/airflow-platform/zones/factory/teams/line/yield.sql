SELECT machine, sum(CASE WHEN is_good THEN 1 ELSE 0 END) AS good_parts FROM Line.parts GROUP BY machine
