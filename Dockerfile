# Penstock with its embedded Postgres, as an ordinary user. Everything that is kept is in /data.
#
#   docker build -t penstock . && docker run -p 3049:3049 -v penstock-data:/data penstock
FROM python:3.13-slim

# A user with a name: initdb of the embedded Postgres asks for one.
RUN useradd --system --uid 10001 --create-home --shell /usr/sbin/nologin penstock \
 && install -d -o penstock -g penstock /data

WORKDIR /opt/penstock
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY server server
COPY storage storage
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

USER penstock
WORKDIR /home/penstock
ENV PENSTOCK_CONF=/data/penstock.yaml
VOLUME /data
EXPOSE 3049
# Stopping in order takes the delivery's and Postgres' time limits: docker stop --time 60
STOPSIGNAL SIGTERM
CMD ["penstock", "run", "--data", "/data", "--host", "0.0.0.0"]
