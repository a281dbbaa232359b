# The commands are those of .ci/run and the Procfile; test/platform/files.test.ts compares them.
# Pin it by digest where you deploy: docs/deployment.md says how.
ARG NODE_IMAGE=node:22-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
# npm ci patches the Postgres driver.
COPY scripts/apply-patches.mjs ./scripts/
COPY patches ./patches
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build
RUN npm prune --omit=dev

FROM ${NODE_IMAGE}
WORKDIR /app
ENV ENVIRONMENT=production
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY sql ./sql
COPY templates ./templates
USER node
EXPOSE 3000
# After SIGTERM a role needs up to 25 s to stop; allow 30 s.
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["start", "all"]
