# Makes the Parquet files beside it; needs pip's pyarrow: python make.py
import pyarrow as pa
import pyarrow.parquet as pq

pq.write_table(pa.table({
    "instruction": ["Say no", "a", "é"], "input": [None, "b", ""], "output": ["no", "c", None],
    "n": [1, 2, 3], "w": [1.5, None, 2.0], "ok": [True, False, None]}), "text.parquet")
pq.write_table(pa.table({
    "messages": [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}], []],
    "tags": [["x", "y"], None]}), "messages.parquet", compression="zstd")
pq.write_table(pa.table({
    "input_ids": pa.array([[1, 2, 3], [4, 5]], pa.list_(pa.int64())),
    "labels": pa.array([[-100, 2, 3], None], pa.list_(pa.int32()))}), "tokens.parquet", compression="gzip", version="1.0")
pq.write_table(pa.table({
    "input_ids": pa.array([[1, 2, 3], [4, 5]], pa.large_list(pa.uint16())), "s": pa.array(["x", "y"], pa.large_string()),
    "d": pa.array(["x", "x"]).dictionary_encode(), "b": pa.array([b"\xff", b"y"], pa.binary())}), "bytes.parquet", compression="none")
