"""Ranks sellers by what they sold: Parquet files in, a Parquet file out.

Levada sets LEVADA_INPUT and LEVADA_OUTPUT; it needs nothing but pyarrow (`pip install pyarrow`).
"""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sales = pq.read_table(Path(os.environ["LEVADA_INPUT"]) / "Sales.sales.parquet")
totals = sales.group_by("seller").aggregate([("amount", "sum")]).sort_by([("amount_sum", "descending")])
ranked = pa.table(
    {
        "seller": totals["seller"],
        "rank": pa.array(range(1, totals.num_rows + 1), pa.int32()),
        "amount": totals["amount_sum"].cast(pa.decimal128(12, 2)),
    }
)
pq.write_table(ranked, Path(os.environ["LEVADA_OUTPUT"]) / "sellers.parquet")
