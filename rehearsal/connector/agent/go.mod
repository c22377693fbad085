module skyvern-stack/rehearsal/connector

go 1.25.0
