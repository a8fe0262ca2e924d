"""A real Spark with a real Iceberg catalog in a temporary folder, set up as the Glue job is.

The package with Iceberg's runtime leaves out the Jackson that the runtime has under its own name; pyspark's
Jackson, moved to that name by Debian's jarjar, takes its place. Made once, beside the Python environment.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

import pyspark
import snowpark_connect_deps_iceberg

JARJAR = [f"/usr/share/java/{name}.jar" for name in ("jarjar", "asm", "asm-commons", "asm-tree")]
RULE = "rule com.fasterxml.jackson.** org.apache.iceberg.shaded.com.fasterxml.jackson.@1\n"
PARTS = re.compile(r"jackson-(core|databind|annotations)-\d.*\.jar$")


def relocated_jackson():
    """The jar with Jackson under the name by which Iceberg's runtime calls it."""
    made = pathlib.Path(sys.prefix, "levada-relocated-jackson.jar")
    if made.is_file():
        return made
    jars = pathlib.Path(pyspark.__file__).parent / "jars"
    with tempfile.TemporaryDirectory() as folder:
        together, rules, moved = (pathlib.Path(folder, name) for name in ("all.jar", "rules.txt", "moved.jar"))
        with zipfile.ZipFile(together, "w") as target:
            seen = set()
            for jar in sorted(path for path in jars.iterdir() if PARTS.match(path.name)):
                with zipfile.ZipFile(jar) as source:
                    for name in source.namelist():
                        # Classes for other versions of Java are beyond jarjar.
                        if name.endswith(".class") and not name.startswith("META-INF/") and name not in seen:
                            seen.add(name)
                            target.writestr(name, source.read(name))
        rules.write_text(RULE, encoding="utf-8")
        command = ["java", "-cp", ":".join(JARJAR), "com.tonicsystems.jarjar.Main", "process", rules, together, moved]
        subprocess.run(command, check=True)
        part = made.with_suffix(".part")
        part.write_bytes(moved.read_bytes())
        part.rename(made)
    return made


def iceberg_runtime():
    package = pathlib.Path(snowpark_connect_deps_iceberg.__file__).parent
    [jar] = package.rglob("iceberg-spark-runtime-3.5_2.12-*.jar")
    return jar


def start(folder, extra_jars=()):
    """A session whose catalog `levada` lies in a folder."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    jars = ",".join(str(jar) for jar in [iceberg_runtime(), relocated_jackson(), *extra_jars])
    catalog = "spark.sql.catalog.levada"
    builder = pyspark.sql.SparkSession.builder.master("local[2]").appName("levada")
    settings = {
        "spark.jars": jars,
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalog}.type": "hadoop",
        f"{catalog}.cache-enabled": "false",
        f"{catalog}.warehouse": f"file://{folder}/tables",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.shuffle.partitions": "2",
        # The data is small: compiling each query would take longer than running it.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.ui.enabled": "false",
        "spark.driver.memory": "2g",
        "spark.sql.warehouse.dir": f"{folder}/none",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder}/none",
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    return session
