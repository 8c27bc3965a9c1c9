#!/usr/bin/env python3
"""Plants one violation of each kind in an empty tree and sees that the lint tests find it: does the alarm ring?"""

import pathlib
import tempfile
import unittest

import include_order_test
import tidy_test

PUBLIC = "#pragma once\n"


class Tree(unittest.TestCase):
    """A temporary tree with one public header per module and one private header in io."""

    def setUp(self):
        self._directory = tempfile.TemporaryDirectory()
        self.addCleanup(self._directory.cleanup)
        self.root = pathlib.Path(self._directory.name).resolve()
        for module in include_order_test.MAY_INCLUDE:
            self.write(f"include/millrace/{module}/{module}.hpp", PUBLIC)
        self.write("src/io/ring.hpp", PUBLIC)

    def write(self, name, text, mode=0o644):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        path.chmod(mode)


class IncludeOrder(Tree):
    def findings(self, name, text):
        self.write(name, text)
        return include_order_test.check(self.root)

    def rejected(self, name, text, words):
        findings = self.findings(name, text)
        self.assertEqual(len(findings), 1, findings)
        self.assertIn(f"{name}:1:", findings[0])
        self.assertIn(words, findings[0])

    def accepted(self, name, text):
        self.assertEqual(self.findings(name, text), [])

    def test_every_edge_of_the_table(self):
        for module, below in include_order_test.MAY_INCLUDE.items():
            for target in include_order_test.MAY_INCLUDE:
                with self.subTest(module=module, target=target):
                    text = f'#include "millrace/{target}/{target}.hpp"\n'
                    findings = self.findings(f"src/{module}/planted.cpp", text)
                    self.assertEqual(findings == [], target == module or target in below, findings)
                    (self.root / f"src/{module}/planted.cpp").unlink()

    def test_the_table_has_no_cycle(self):
        table = include_order_test.MAY_INCLUDE
        for module, below in table.items():
            for other in below - {module}:
                self.assertNotIn(module, table[other] - {other}, f"{module} and {other} include each other")

    def test_flow_knows_no_pool(self):
        self.rejected("include/millrace/flow/bad.hpp", '#include "millrace/pool/pool.hpp"\n', "must not include")

    def test_worker_does_not_include_config(self):
        self.rejected("src/worker/bad.cpp", '  #  include "millrace/config/config.hpp"\n', "must not include")

    def test_unknown_module(self):
        self.rejected("src/extra/bad.cpp", '#include "millrace/base/base.hpp"\n', "not in the table")

    def test_angle_brackets(self):
        self.rejected("src/net/bad.cpp", "#include <millrace/base/base.hpp>\n", "of this project")

    def test_missing_header(self):
        self.rejected("src/net/bad.cpp", '#include "millrace/base/no.hpp"\n', "does not exist")

    def test_wrapped_headers(self):
        for header, home in (("liburing.h", "src/io"), ("liburing.h", "tests/contract"), ("toml++/toml.h", "src/config"),
                             ("CLI/CLI.hpp", "src/app"), ("spdlog/spdlog.h", "src/base")):
            with self.subTest(header=header):
                self.accepted(f"{home}/good.cpp", f"#include <{header}>\n")
                self.rejected("tests/unit/net/bad.cpp", f"#include <{header}>\n", "only")
                (self.root / "tests/unit/net/bad.cpp").unlink()

    def test_liburing_not_even_in_the_public_headers_of_io(self):
        self.rejected("include/millrace/io/bad.hpp", "#include <liburing.h>\n", "only")

    def test_private_headers(self):
        self.accepted("src/io/good.cpp", '#include "ring.hpp"\n')
        self.accepted("tests/unit/io/good.cpp", '#include "../../../src/io/ring.hpp"\n')
        self.rejected("src/worker/bad.cpp", '#include "../io/ring.hpp"\n', "private header")


class Tidy(Tree):
    def rejected(self, name, text, words, mode=0o644):
        self.write(name, text, mode)
        findings = tidy_test.check(self.root)
        self.assertEqual(len(findings), 1, findings)
        self.assertIn(name, findings[0])
        self.assertIn(words, findings[0])
        self.assertIn("remedy:", findings[0])

    def test_clean_tree(self):
        self.write("tools/good", "#!/bin/sh\necho hello\n", 0o755)
        self.assertEqual(tidy_test.check(self.root), [])

    def test_tab(self):
        self.rejected("src/net/bad.cpp", "int a;\n\tint b;\n", "tab")

    def test_trailing_space(self):
        self.rejected("docs/bad.md", "words \n", "trailing")

    def test_carriage_return(self):
        self.rejected("docs/bad.md", "words\r\nmore\r\n", "carriage return")

    def test_broken_on_purpose(self):
        self.write("tests/config/broken/odd.toml", "a \r\n\tb")
        self.assertEqual(tidy_test.check(self.root), [])

    def test_no_newline(self):
        self.rejected("docs/bad.md", "words", "no newline")

    def test_large_source(self):
        self.rejected("src/net/bad.cpp", "int a;\n" * 10_000, "bytes")

    def test_leftover(self):
        self.rejected("include/millrace/net/bad.hpp", PUBLIC + "// TO" + "DO: later\n", "left in the source")

    def test_pragma_once(self):
        self.rejected("include/millrace/net/bad.hpp", "int a;\n", "pragma once")

    def test_shell_syntax(self):
        self.rejected("tools/bad", "#!/bin/sh\nif true; then\n", "rejects", 0o755)

    def test_python_syntax(self):
        self.rejected("tools/bad.py", "def f(:\n    pass\n", "rejects")

    def test_executable_without_shebang(self):
        self.rejected("tools/bad", "echo hello\n", "without a #!", 0o755)

    def test_shebang_without_mode(self):
        self.rejected("tools/bad", "#!/bin/sh\necho hello\n", "not executable")

    def test_build_directories_do_not_count(self):
        self.write("build-x/bad.cpp", "\t \r\n")
        self.write(".git/bad.cpp", "\t \r\n")
        self.assertEqual(tidy_test.check(self.root), [])


if __name__ == "__main__":
    unittest.main()
