module skyvern-stack/lab/connector

go 1.25.0
