"""Files as users name them: inputs that may be compressed, outputs that are whole or not there."""

from s2s_lightning.files.file_names import full_output, replace_closed, shown, stdout
from s2s_lightning.files.json_rows import check_text, json_row
from s2s_lightning.files.text_stream import (
    can_be_read_again,
    check_file,
    decode_lines,
    decode_utf8,
    open_file,
    read_lines,
)
from s2s_lightning.files.whole_file import (
    cannot_be_written,
    check_output,
    refuse_overwriting,
    sync_folder,
    whole_file,
    write_whole,
    written_through,
)

__all__ = [
    "can_be_read_again",
    "cannot_be_written",
    "check_file",
    "check_output",
    "check_text",
    "decode_lines",
    "decode_utf8",
    "full_output",
    "json_row",
    "open_file",
    "read_lines",
    "refuse_overwriting",
    "replace_closed",
    "shown",
    "stdout",
    "sync_folder",
    "whole_file",
    "write_whole",
    "written_through",
]
