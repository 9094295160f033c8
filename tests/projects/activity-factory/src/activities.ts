export interface DB {
  get(key: string): Promise<string>;
}

export const createActivities = (db: DB) => ({
  async greet(msg: string): Promise<string> {
    const name = await db.get('name'); // simulate read from db
    return `${msg}, ${name}`;
  },
  async greet_es(name: string): Promise<string> {
    return `${await db.get('es')}, ${name}`;
  },
  async greet_fr(name: string): Promise<string> {
    return `${await db.get('fr')}, ${name}`;
  },
});
