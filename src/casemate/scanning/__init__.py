"""What is inside a model file or a dataset, found without running any of it.

    report = scan_path(Path("model.onnx"))          # or scan({"model.onnx": sealed})
    with convert_dataset(sealed, "rows.csv", target="label") as data: ...

All foreign bytes are parsed in one confined process. Unknown, unsupported or unparseable means refused; when the
inspection itself fails, that is a critical finding.
"""

from casemate.scanning.collect import collect_files
from casemate.scanning.dataset import Source, convert_dataset, stream_dataset
from casemate.scanning.difference import TableDifference, compare_tables
from casemate.scanning.limits import DatasetLimits, ScanLimits
from casemate.scanning.preview import preview_table
from casemate.scanning.report import ConvertedDataset, DescribedDataset, ScanReport
from casemate.scanning.scan import scan, scan_path

__all__ = [
    "ConvertedDataset",
    "DatasetLimits",
    "DescribedDataset",
    "ScanLimits",
    "ScanReport",
    "Source",
    "TableDifference",
    "collect_files",
    "compare_tables",
    "convert_dataset",
    "preview_table",
    "scan",
    "scan_path",
    "stream_dataset",
]
