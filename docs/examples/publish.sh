# To everybody who listens to "news":
wsredis publish news --broadcast "Hello"

# To two users and a group; the message is stored for a minute:
wsredis publish news --user john --user mary --group staff --expire 60 "Hello"

# The output of another program, byte for byte; it is not stored:
date | tr -d '\n' | wsredis publish news --broadcast --expire 0 -

# Any client of Redis does the same:
redis-cli SETEX broadcast:news 3600 "Hello"
redis-cli PUBLISH broadcast:news "Hello"
